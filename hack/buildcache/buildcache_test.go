package buildcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRequiredVersionIsFoundInEitherForm(t *testing.T) {
	for _, goMod := range []string{
		"module x\n\nrequire k8s.io/kubernetes v1.34.4\n",
		"module x\n\nrequire (\n\tk8s.io/kubernetes-other v9.9.9\n\tk8s.io/kubernetes v1.34.4\n)\n",
	} {
		got, err := RequiredVersion(withGoMod(t, goMod), "k8s.io/kubernetes")
		if err != nil || got != "v1.34.4" {
			t.Errorf("got %q, %v from:\n%s", got, err, goMod)
		}
	}
	if got, err := RequiredVersion(withGoMod(t, "module x\n"), "k8s.io/kubernetes"); err == nil {
		t.Errorf("found %q where there is none", got)
	}
}

func withGoMod(t *testing.T, content string) (source string) {
	t.Helper()
	source = t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "go.mod"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return source
}

func TestDigestFollowsContentNameAndFlags(t *testing.T) {
	digest := func(files map[string]string, flags ...string) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := DigestOf(dir, flags...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	base := digest(map[string]string{"go.mod": "ab", "main.go": "c"}, "-s")
	if again := digest(map[string]string{"go.mod": "ab", "main.go": "c"}, "-s"); again != base {
		t.Error("equal sources differ in digest")
	}
	if tested := digest(map[string]string{"go.mod": "ab", "main.go": "c", "x_test.go": "t"}, "-s"); tested != base {
		t.Error("a test makes the product stale")
	}
	for name, other := range map[string]string{
		"content":  digest(map[string]string{"go.mod": "ab", "main.go": "d"}, "-s"),
		"boundary": digest(map[string]string{"go.mod": "a", "main.go": "bc"}, "-s"),
		"name":     digest(map[string]string{"go.mod": "ab", "mean.go": "c"}, "-s"),
		"flags":    digest(map[string]string{"go.mod": "ab", "main.go": "c"}, "-w"),
	} {
		if other == base {
			t.Errorf("another %s gives the same digest", name)
		}
	}
}

func TestAnInterruptedBuildIsNoProduct(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	builds, fail := 0, errors.New("cut short")
	p := Product{Name: "thing-1", Files: []string{"a", "b"}, Fill: func(_ context.Context, dir string) error {
		builds++
		if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil || builds == 1 {
			return errors.Join(err, fail)
		}
		return os.WriteFile(filepath.Join(dir, "b"), nil, 0o600)
	}}
	ensure := func() error {
		if c.Has(p) {
			return nil
		}
		return c.Make(t.Context(), p)
	}
	if err := ensure(); !errors.Is(err, fail) || c.Has(p) {
		t.Fatalf("first build: %v, in cache %t", err, c.Has(p))
	}
	for range 2 {
		if err := ensure(); err != nil || !c.Has(p) {
			t.Fatalf("later build: %v, in cache %t", err, c.Has(p))
		}
	}
	if builds != 2 {
		t.Errorf("built %d times, want 2", builds)
	}
	if err := os.Remove(filepath.Join(c.Path(p), "b")); err != nil {
		t.Fatal(err)
	}
	if err := ensure(); err != nil || builds != 3 {
		t.Errorf("a product that lacks a file: %v after %d builds, want a third", err, builds)
	}
}

func TestOutsideACheckoutTheErrorNamesTheRemedy(t *testing.T) {
	dir := t.TempDir()
	_, err := rootAbove(dir)
	if want := dir + " is not inside a pgtls checkout: run this from there"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestALockHasOneHolder(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	release, err := c.Lock(func() { t.Error("the first lock has nothing to wait for") })
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{})
	held := make(chan error, 1)
	go func() {
		second, err := c.Lock(func() { close(waits) })
		if err == nil {
			second()
		}
		held <- err
	}()
	<-waits
	select {
	case err := <-held:
		t.Errorf("two held the lock at once (%v)", err)
	default:
	}
	release()
	if err := <-held; err != nil {
		t.Error(err)
	}
}
