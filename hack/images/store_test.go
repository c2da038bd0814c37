package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newStore(t *testing.T) store {
	t.Helper()
	s := store{t.TempDir()}
	if err := s.create(); err != nil {
		t.Fatal(err)
	}
	return s
}

// archived leaves an archive that was last used the given number of hours after the epoch.
func archived(t *testing.T, s store, name string, k key, hours int) string {
	t.Helper()
	path := s.archive(name, k)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := touch(path, time.Unix(int64(hours)*3600, 0)); err != nil {
		t.Fatal(err)
	}
	return path
}

func numbered(n int) key { return key(fmt.Sprintf("%016x", n)) }

func TestPruneKeepsTheLastUsed(t *testing.T) {
	s := newStore(t)
	keep := []string{
		archived(t, s, "client", numbered(1), 9),
		archived(t, s, "client", numbered(2), 7),
		archived(t, s, "client", numbered(3), 8),
		archived(t, s, "client-tools", numbered(4), 0), // another image whose name begins alike
		archived(t, s, "agent", numbered(5), 0),
	}
	archived(t, s, "client", numbered(6), 6)
	archived(t, s, "client", numbered(7), 1)

	removed, err := s.prune("client")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]key{numbered(6), numbered(7)}, removed); diff != "" {
		t.Error(diff)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "images", "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keep)
	if diff := cmp.Diff(keep, left); diff != "" {
		t.Error(diff)
	}
}

func TestPruneOfFewArchivesRemovesNone(t *testing.T) {
	s := newStore(t)
	archived(t, s, "agent", numbered(1), 0)
	removed, err := s.prune("agent")
	if err != nil || len(removed) != 0 {
		t.Errorf("got %v, %v", removed, err)
	}
}

func TestLockWaitsForTheOther(t *testing.T) {
	s := newStore(t)
	first, err := s.lock(func() { t.Error("the first lock has nothing to wait for") })
	if err != nil {
		t.Fatal(err)
	}
	waited := false
	second, err := s.lock(func() {
		waited = true
		first.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if !waited {
		t.Error("two builds held the lock at once")
	}
}

func TestResolveFindsWhatIsBuilt(t *testing.T) {
	root, s := checkout(t), newStore(t)
	before, err := resolveOne(root, s, thing())
	if err != nil {
		t.Fatal(err)
	}
	if before.Built {
		t.Error("built before anything was")
	}
	if err := os.WriteFile(before.Archive, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	after, err := resolveOne(root, s, thing())
	if err != nil {
		t.Fatal(err)
	}
	if !after.Built {
		t.Error("not built although its archive exists")
	}
	write(t, root, "bin/thing", "changed", 0o755)
	changed, err := resolveOne(root, s, thing())
	if err != nil {
		t.Fatal(err)
	}
	if changed.Built || changed.Reference == before.Reference {
		t.Errorf("a changed binary is still %s, built %t", changed.Reference, changed.Built)
	}
}

// The demo and the end-to-end tests read these names.
func TestImageAsJSON(t *testing.T) {
	s := store{"/cache/pgtls"}
	i := image{Name: "agent", Reference: recipe{Name: "agent"}.reference(numbered(1)), Archive: s.archive("agent", numbered(1)), Built: true}
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(i); err != nil {
		t.Fatal(err)
	}
	want := `{"name":"agent","reference":"localhost/pgtls/agent:0000000000000001",` +
		`"archive":"/cache/pgtls/images/agent-0000000000000001.tar","built":true}` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestMissingImagesMarksTheCachedAsUsed(t *testing.T) {
	s := newStore(t)
	built := image{Name: "agent", Archive: archived(t, s, "agent", numbered(1), 0), Built: true}
	absent := image{Name: "client", Archive: s.archive("client", numbered(2))}
	now := time.Unix(7200, 0)
	var out bytes.Buffer

	missing, err := missingImages([]image{built, absent}, newProgress(&out, func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 1 || missing[0].Name != "client" {
		t.Errorf("missing: got %v", missing)
	}
	info, err := os.Stat(built.Archive)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(now) {
		t.Errorf("last used %s, want %s", info.ModTime(), now)
	}
	if diff := cmp.Diff("   0.0s  agent           cached\n", out.String()); diff != "" {
		t.Error(diff)
	}
}
