package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// Limits of what is read: a Secret has at most 1 MiB.
const (
	maxFileBytes = 1 << 20
	maxFiles     = 32
	maxAskBytes  = 256
)

// kubeletLink is what the kubelet swaps in a mounted volume: the files are links through it.
const kubeletLink = "..data"

// delivered is what the kubelet has mounted.
type delivered struct {
	revision string    // "" when there is no file at all
	material *Material // nil when refusal says why the files cannot be parsed
	refusal  error
}

// observer reads the mounted files. It parses the same content only once.
type observer struct {
	materialDir  string
	activateFile string
	last         delivered
}

// mounted reads the files of one delivery: never some of one and some of the next.
func (o *observer) mounted() delivered {
	files, err := readDelivery(o.materialDir)
	if err != nil {
		return delivered{revision: "", refusal: err}
	}
	if len(files) == 0 {
		return delivered{}
	}
	revision := pki.Revision(files)
	if revision != o.last.revision {
		material, err := ParseMaterial(files)
		o.last = delivered{revision: revision, material: material, refusal: err}
	}
	return o.last
}

// unreadable reports whether there are files that could not be read: no event may tell when they can.
func (d delivered) unreadable() bool { return d.revision == "" && d.refusal != nil }

func (d delivered) candidate(now time.Time) *Candidate {
	switch {
	case d.material != nil:
		return d.material.candidate(now)
	case d.refusal != nil:
		return &Candidate{Revision: d.revision, Refusal: d.refusal}
	}
	return nil
}

// asked reads the annotation as the downward API delivers it. A missing file asks for nothing.
func (o *observer) asked() string {
	file, err := os.Open(o.activateFile)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(file, maxAskBytes))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// readDelivery follows the kubelet's link once and reads behind it. The directory vanishes when the link is swapped
// meanwhile: then it reads the next one.
func readDelivery(dir string) (map[string][]byte, error) {
	for range 5 {
		behind, err := behindLink(dir)
		if err != nil {
			return nil, err
		}
		files, err := readFiles(behind)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return files, err
		}
	}
	return nil, nil
}

func behindLink(dir string) (string, error) {
	target, err := os.Readlink(filepath.Join(dir, kubeletLink))
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the delivered files: %w", err)
	}
	return filepath.Join(dir, target), nil
}

// readFiles returns every regular file of a directory by name. Names with a leading dot are the kubelet's own.
func readFiles(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the delivered files: %w", err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || entry.IsDir() {
			continue
		}
		if len(files) == maxFiles {
			return nil, fmt.Errorf("reading the delivered files: there are more than %d", maxFiles)
		}
		content, err := readFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		files[entry.Name()] = content
	}
	return files, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the delivered files: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the delivered files: %w", err)
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("reading the delivered files: %s has more than %d bytes", filepath.Base(path), maxFileBytes)
	}
	return content, nil
}
