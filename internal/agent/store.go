package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/pki"
)

// Names in the active directory beside the revisions.
const (
	currentLink   = "current"
	temporaryLink = ".current.new"
	temporaryDir  = ".revision.new"
)

// store is the active directory: one directory per installed revision, and the link "current" to one of
// them. PostgreSQL and others read through the link at any time, so it is only ever replaced by a rename.
//
// Nothing else remembers anything: a restarted agent finds everything here. A revision counts only when
// its files hash to its name, so that what a crash left half written is as good as absent.
type store struct {
	dir string

	// beforeStep is called before each step that changes the file system. Tests stop there, as a crash would.
	beforeStep func(step string) error
}

func (s *store) step(name string) error {
	if s.beforeStep == nil {
		return nil
	}
	return s.beforeStep(name)
}

// current returns the revision that the link leads to, or nil when there is none that is intact.
func (s *store) current() *Material {
	target, err := os.Readlink(filepath.Join(s.dir, currentLink))
	if err != nil {
		return nil
	}
	return s.read(filepath.Base(target))
}

// read returns an intact installed revision, or nil.
func (s *store) read(revision string) *Material {
	files, err := readFiles(filepath.Join(s.dir, revision))
	if err != nil || pki.Revision(files) != revision {
		return nil
	}
	m, err := ParseMaterial(files)
	if err != nil || !s.hasSettings(m) {
		return nil
	}
	return m
}

// held returns every intact installed revision except the given one, latest first.
func (s *store) held(except string) []*Material {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == except
	})
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(modified(b), modified(a)) })
	var materials []*Material
	for _, entry := range entries {
		if m := s.read(entry.Name()); m != nil {
			materials = append(materials, m)
		}
	}
	return materials
}

func modified(entry fs.DirEntry) int64 {
	info, err := entry.Info()
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// write installs the files of m under its revision, without using them. An intact one is left alone.
func (s *store) write(m *Material) error {
	if s.read(m.Revision) != nil {
		return nil
	}
	temporary, final := filepath.Join(s.dir, temporaryDir), filepath.Join(s.dir, m.Revision)
	steps := []step{
		{"clear", func() error { return errors.Join(os.RemoveAll(temporary), os.RemoveAll(final)) }},
		{"mkdir", func() error { return os.Mkdir(temporary, 0o700) }},
	}
	files := s.withSettings(m)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		steps = append(steps, step{"write " + name, func() error {
			return os.WriteFile(filepath.Join(temporary, name), files[name], 0o600)
		}})
	}
	steps = append(steps, step{"complete", func() error { return os.Rename(temporary, final) }})
	return s.run("writing revision "+m.Revision, steps)
}

// link makes "current" lead to an installed revision, in one instant.
func (s *store) link(revision string) error {
	temporary := filepath.Join(s.dir, temporaryLink)
	return s.run("linking revision "+revision, []step{
		{"unlink", func() error { return ignoreMissing(os.Remove(temporary)) }},
		{"symlink", func() error { return os.Symlink(revision, temporary) }},
		{"swap", func() error { return os.Rename(temporary, filepath.Join(s.dir, currentLink)) }},
	})
}

// prune removes every revision but those to keep, intact or not.
func (s *store) prune(keep ...string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("removing old revisions: %w", err)
	}
	var steps []step
	for _, entry := range entries {
		if !entry.IsDir() || slices.Contains(keep, entry.Name()) {
			continue
		}
		steps = append(steps, step{"remove " + entry.Name(), func() error { return os.RemoveAll(filepath.Join(s.dir, entry.Name())) }})
	}
	return s.run("removing old revisions", steps)
}

type step struct {
	name string
	do   func() error
}

func (s *store) run(act string, steps []step) error {
	for _, step := range steps {
		if err := s.step(step.name); err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
