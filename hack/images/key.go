package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// A key names the content of an image: 16 hexadecimal digits that change with anything that goes into it.
// What a Debian mirror serves today is not part of it: a newer package arrives after the cache is dropped.
type key string

const keyLength = 16

// keyOf returns the key of a recipe in the repository at root.
func keyOf(root string, r recipe) (key, error) {
	h := newHasher()
	h.text("image", r.Folder, r.context())
	if r.Suite != "" {
		base, err := baseKeyOf(root, r.Suite)
		if err != nil {
			return "", err
		}
		h.text("base", string(base))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Args)) {
		h.text("arg", name, r.Args[name])
	}
	if err := h.folder(filepath.Join(root, r.Folder)); err != nil {
		return "", fmt.Errorf("hashing the recipe of image %s: %w", r.Name, err)
	}
	if r.Binary != "" {
		if err := hashBinary(h, root, r); err != nil {
			return "", err
		}
	}
	return h.key(), nil
}

func hashBinary(h *hasher, root string, r recipe) error {
	err := h.file("binary", filepath.Join(root, binaryFolder, r.Binary))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image %s carries %s/%s, which is not built yet: run make build: %w", r.Name, binaryFolder, r.Binary, err)
	}
	return err
}

// baseKeyOf returns the key of the base image of a Debian release.
func baseKeyOf(root, suite string) (key, error) {
	h := newHasher()
	h.text("base", suite)
	h.text(bootstrapOptions(suite)...)
	h.text(noSources)
	if err := h.folder(filepath.Join(root, baseFolder)); err != nil {
		return "", fmt.Errorf("hashing the recipe of base %s: %w", suite, err)
	}
	return h.key(), nil
}

// A hasher takes a sequence of items; each goes in with its length, so that no two sequences look the same.
type hasher struct{ sum hash.Hash }

func newHasher() *hasher { return &hasher{sha256.New()} }

func (h *hasher) key() key { return key(hex.EncodeToString(h.sum.Sum(nil))[:keyLength]) }

func (h *hasher) length(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.sum.Write(b[:])
}

func (h *hasher) text(items ...string) {
	h.length(int64(len(items)))
	for _, s := range items {
		h.length(int64(len(s)))
		h.sum.Write([]byte(s))
	}
}

// folder adds every file below dir with its relative path, in lexical order.
func (h *hasher) folder(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return h.file(filepath.ToSlash(name), path)
	})
}

// file adds a file's content and whether it may be executed.
func (h *hasher) file(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.text("file", name, fmt.Sprint(info.Mode()&0o111 != 0))
	h.length(info.Size())
	_, err = io.Copy(h.sum, f)
	return err
}
