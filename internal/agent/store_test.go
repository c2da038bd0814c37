package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

var errCrash = errors.New("crash")

// install is what the agent does with the store to activate m.
func install(s *store, m *Material) error {
	keep := []string{m.Revision}
	if c := s.current(); c != nil {
		keep = append(keep, c.Revision)
	}
	if err := s.write(m); err != nil {
		return err
	}
	if err := s.link(m.Revision); err != nil {
		return err
	}
	return s.prune(keep...)
}

func mustInstall(t testing.TB, s *store, m *Material) {
	t.Helper()
	if err := install(s, m); err != nil {
		t.Fatal(err)
	}
}

func revisions(materials []*Material) (names []string) {
	for _, m := range materials {
		names = append(names, m.Revision)
	}
	return names
}

func TestInstallKeepsOnePredecessor(t *testing.T) {
	k := newKit(t, noon)
	s := &store{dir: t.TempDir()}
	if s.current() != nil || s.held("") != nil {
		t.Fatal("an empty directory holds something")
	}
	a, b, c := k.material(usual()).parsed(t), k.material(usual()).parsed(t), k.material(usual()).parsed(t)
	for _, m := range []*Material{a, b, c} {
		mustInstall(t, s, m)
	}
	if got := s.current(); got == nil || got.Revision != c.Revision {
		t.Errorf("current is %v", got)
	}
	if got := revisions(s.held(c.Revision)); !slices.Equal(got, []string{b.Revision}) {
		t.Errorf("held are %v, want %v", got, b.Revision)
	}
	mustInstall(t, s, b) // an undo
	if got := revisions(s.held(b.Revision)); s.current().Revision != b.Revision || !slices.Equal(got, []string{c.Revision}) {
		t.Errorf("after the undo current is %s, held are %v", s.current().Revision, got)
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	k := newKit(t, noon)
	s := &store{dir: t.TempDir()}
	m := k.material(usual())
	mustInstall(t, s, m.parsed(t))
	for _, name := range materialFiles() {
		path := filepath.Join(s.dir, currentLink, name)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if content, _ := os.ReadFile(path); string(content) != string(m[name]) {
			t.Errorf("%s has other content", name)
		}
	}
	if info, err := os.Stat(filepath.Join(s.dir, m.revision())); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info, err)
	}
}

// A crash between any two steps leaves either the old or the new revision, whole, and the next attempt succeeds.
func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	k := newKit(t, noon)
	a, b, c := k.material(usual()).parsed(t), k.material(usual()).parsed(t), k.material(usual()).parsed(t)
	for crashAt := 0; ; crashAt++ {
		dir := t.TempDir()
		before := &store{dir: dir}
		mustInstall(t, before, a)
		mustInstall(t, before, b)

		steps := 0
		crashing := &store{dir: dir, beforeStep: func(string) error {
			steps++
			if steps > crashAt {
				return errCrash
			}
			return nil
		}}
		err := install(crashing, c)
		if err == nil {
			if crashAt < 10 {
				t.Fatalf("only %d steps: the test stops nowhere", crashAt)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}

		after := &store{dir: dir}
		current := after.current()
		if current == nil || current.Revision != b.Revision && current.Revision != c.Revision {
			t.Fatalf("crash at step %d: current is %+v", crashAt, current)
		}
		for _, held := range after.held(current.Revision) {
			if pki.Revision(held.Files) != held.Revision {
				t.Fatalf("crash at step %d: %s is held and not whole", crashAt, held.Revision)
			}
		}
		mustInstall(t, after, c)
		if got := after.current(); got.Revision != c.Revision {
			t.Fatalf("crash at step %d: then current is %s", crashAt, got.Revision)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 3 {
			t.Errorf("crash at step %d: left over are %v", crashAt, entries)
		}
	}
}

// A process that reads through the link sees a whole revision: PostgreSQL may start or reload at any time.
func TestReadersSeeWholePairs(t *testing.T) {
	k := newKit(t, noon)
	s := &store{dir: t.TempDir()}
	materials := []*Material{k.material(usual()).parsed(t), k.material(usual()).parsed(t), k.material(usual()).parsed(t)}
	mustInstall(t, s, materials[0])

	var reads atomic.Int64
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				target, err := os.Readlink(filepath.Join(s.dir, currentLink))
				if err != nil {
					t.Errorf("there is no link for a moment: %v", err)
					return
				}
				dir := filepath.Join(s.dir, target)
				files, err := readFiles(dir)
				if err != nil {
					continue // removed meanwhile: two installations have gone by
				}
				if len(files) == len(materialFiles()) && pki.Revision(files) != filepath.Base(dir) {
					t.Errorf("%s holds files of another revision", filepath.Base(dir))
				}
				reads.Add(1)
			}
		})
	}
	for i := range 60 {
		mustInstall(t, s, materials[i%len(materials)])
	}
	for deadline := time.Now().Add(10 * time.Second); reads.Load() < 10 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	close(stop)
	readers.Wait()
	if reads.Load() < 10 {
		t.Errorf("only %d reads: the test proves nothing", reads.Load())
	}
}

func TestWhatIsDamagedInTheStoreCountsForNothing(t *testing.T) {
	k := newKit(t, noon)
	m := k.material(usual()).parsed(t)
	damages := map[string]func(dir string) error{
		"a file is cut":      func(dir string) error { return os.Truncate(filepath.Join(dir, agentapi.ServerKey), 10) },
		"a file is gone":     func(dir string) error { return os.Remove(filepath.Join(dir, agentapi.ClientBundle)) },
		"a file is added":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) },
		"everything is gone": os.RemoveAll,
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			s := &store{dir: t.TempDir()}
			mustInstall(t, s, m)
			if err := damage(filepath.Join(s.dir, m.Revision)); err != nil {
				t.Fatal(err)
			}
			if got := s.current(); got != nil {
				t.Errorf("current is %s", got.Revision)
			}
			mustInstall(t, s, m)
			if got := s.current(); got == nil || got.Revision != m.Revision {
				t.Errorf("after the repair current is %v", got)
			}
		})
	}
}
