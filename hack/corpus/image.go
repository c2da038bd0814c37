package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// cache holds unpacked images, each under the name of its archive, which changes with its content.
type cache struct {
	dir  string
	lock *os.File
}

// openCache keeps a second run out until close, or until this process ends however it may.
func openCache() (*cache, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the user's cache directory: %w", err)
	}
	dir := filepath.Join(user, "pgtls", "corpus")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for another run: %w", err), lock.Close())
	}
	return &cache{dir, lock}, nil
}

func (c *cache) close() { c.lock.Close() }

// unpack returns the root file system of an image and drops those of its older archives.
func (c *cache) unpack(ctx context.Context, name string, archives map[string]string) (string, error) {
	archive, ok := archives[name]
	if !ok {
		return "", fmt.Errorf("image %s is not in the list", name)
	}
	root := filepath.Join(c.dir, strings.TrimSuffix(filepath.Base(archive), ".tar"))
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	old, err := filepath.Glob(filepath.Join(c.dir, name+"-*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	unfinished := root + ".unfinished"
	if err := unpackLayers(ctx, archive, unfinished); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", archive, err)
	}
	return root, os.Rename(unfinished, root)
}

func unpackLayers(ctx context.Context, archive, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	var manifest []struct{ Layers []string }
	err := inArchive(archive, "manifest.json", func(r io.Reader) error { return json.NewDecoder(r).Decode(&manifest) })
	if err != nil {
		return err
	}
	if len(manifest) != 1 {
		return fmt.Errorf("its manifest has %d images", len(manifest))
	}
	for _, layer := range manifest[0].Layers {
		err := inArchive(archive, layer, func(r io.Reader) error { return unpackLayer(ctx, r, root) })
		if err != nil {
			return fmt.Errorf("layer %s: %w", layer, err)
		}
	}
	return nil
}

// inArchive calls f with the content of a file of a tar archive.
func inArchive(archive, name string, f func(io.Reader) error) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if err != nil {
			return fmt.Errorf("looking for %s: %w", name, err)
		}
		if header.Name == name {
			return f(r)
		}
	}
}

func unpackLayer(ctx context.Context, layer io.Reader, root string) error {
	command := exec.CommandContext(ctx, "tar", "--extract", "--numeric-owner", "--directory", root)
	command.Stdin = layer
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return removeWhiteouts(root)
}

const whiteout = ".wh."

// removeWhiteouts removes what a layer says is gone from those below it.
func removeWhiteouts(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !strings.HasPrefix(filepath.Base(path), whiteout) {
			return err
		}
		gone := filepath.Join(filepath.Dir(path), strings.TrimPrefix(filepath.Base(path), whiteout))
		return errors.Join(os.Remove(path), os.RemoveAll(gone))
	})
}
