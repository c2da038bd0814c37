package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A store is everything that the builds leave behind: one directory, dropped by removing it.
//
//	images/NAME-KEY.tar   the docker-archives, which are the result
//	buildah/              buildah's layers, so that a rebuild starts at the first changed line
//	work/                 build contexts of the bases and sources.list files
//	log/                  output of the last build of each image
type store struct{ dir string }

// openStore returns the store in the user's cache directory.
func openStore() (store, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return store{}, fmt.Errorf("finding the user's cache directory: %w", err)
	}
	return store{filepath.Join(cache, "pgtls")}, nil
}

func (s store) archive(name string, k key) string {
	return filepath.Join(s.dir, "images", fmt.Sprintf("%s-%s.tar", name, k))
}

func (s store) work(elem ...string) string {
	return filepath.Join(append([]string{s.dir, "work"}, elem...)...)
}

func (s store) log(name string) string { return filepath.Join(s.dir, "log", name+".log") }

// create makes the directories.
func (s store) create() error {
	for _, dir := range []string{"images", "work", "log", "buildah"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			return fmt.Errorf("creating the image cache: %w", err)
		}
	}
	return nil
}

// lock keeps a second build out until the returned file is closed, or its process ends however it may.
// It calls waiting, once, when another build holds the lock.
func (s store) lock(waiting func()) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "work", "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the image cache: %w", err)
	}
	fd := int(f.Fd())
	if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return f, nil
	}
	waiting()
	if err := syscall.Flock(fd, syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the image cache: %w", err)
	}
	return f, nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// archivesKept is how many archives of one image stay: the current one and some to go back to.
const archivesKept = 3

// prune removes the oldest archives of an image and returns the keys of those that it removed.
// What counts is the last use, see touch.
func (s store) prune(name string) ([]key, error) {
	prefix := filepath.Join(s.dir, "images", name+"-")
	paths, err := filepath.Glob(prefix + strings.Repeat("[0-9a-f]", keyLength) + ".tar")
	if err != nil {
		return nil, err
	}
	used := make(map[string]time.Time, len(paths))
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("reading when an archive was used: %w", err)
		}
		used[path] = info.ModTime()
	}
	slices.SortFunc(paths, func(a, b string) int { return used[b].Compare(used[a]) })
	var removed []key
	for _, path := range paths[min(archivesKept, len(paths)):] {
		if err := os.Remove(path); err != nil {
			return removed, fmt.Errorf("removing an old archive: %w", err)
		}
		removed = append(removed, key(strings.TrimSuffix(strings.TrimPrefix(path, prefix), ".tar")))
	}
	return removed, nil
}

// touch marks an archive as used now.
func touch(path string, now time.Time) error { return os.Chtimes(path, now, now) }
