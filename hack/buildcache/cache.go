// Package buildcache keeps what is built from other people's Go modules for
// tests and demos, so that it is built once on a machine and not once for each
// work tree or cluster.
package buildcache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Cache is a directory that outlives clusters and work trees. Everything in it is found by a
// name that holds a digest of all that it was made of, so nothing in it is ever stale.
type Cache struct{ Dir string }

// Open makes the named part of the user's cache; "make clean-cache" drops it.
func Open(name string) (Cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("finding the user's cache directory: %w", err)
	}
	c := Cache{Dir: filepath.Join(dir, "pgtls", name)}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return Cache{}, err
	}
	return c, nil
}

// Product is one directory of the cache with the files that make it complete.
type Product struct {
	Name  string // of the directory: what, version, digest
	Files []string
	Fill  func(ctx context.Context, dir string) error
}

// Path of the product's directory, whether it is there or not.
func (c Cache) Path(p Product) string { return filepath.Join(c.Dir, p.Name) }

// Has tells whether the cache has every file of the product.
func (c Cache) Has(p Product) bool {
	for _, file := range p.Files {
		if _, err := os.Stat(filepath.Join(c.Path(p), file)); err != nil {
			return false
		}
	}
	return true
}

// Make makes the product anew. It appears in one rename, so an interrupted
// build is never mistaken for a product.
func (c Cache) Make(ctx context.Context, p Product) error {
	partial := c.Path(p) + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.RemoveAll(c.Path(p))); err != nil {
		return err
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return err
	}
	if err := p.Fill(ctx, partial); err != nil {
		return err
	}
	return os.Rename(partial, c.Path(p))
}

// Lock keeps out every other holder until release is called. The kernel lets go of
// it when the holder ends, however it ends. waiting is called once when there is another.
func (c Cache) Lock(waiting func()) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		waiting()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
	}
	return func() { _ = f.Close() }, nil
}
