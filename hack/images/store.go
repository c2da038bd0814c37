package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// archivesKept is how many archives of one image stay: the current one and some to go back to.
const archivesKept = 3

// prune removes the oldest archives of an image. touch keeps those in use young.
func (s store) prune(name string) error {
	paths, err := filepath.Glob(filepath.Join(s.dir, "images", name+"-????????????????.tar"))
	if err != nil {
		return err
	}
	ages := make(map[string]time.Time, len(paths))
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("reading the age of an archive: %w", err)
		}
		ages[path] = info.ModTime()
	}
	slices.SortFunc(paths, func(a, b string) int { return ages[b].Compare(ages[a]) })
	for _, path := range paths[min(archivesKept, len(paths)):] {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing an old archive: %w", err)
		}
	}
	return nil
}

func touch(path string, now time.Time) error { return os.Chtimes(path, now, now) }
