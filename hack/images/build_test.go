package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlanRendersTheBuild(t *testing.T) {
	b := &builder{root: "/src", store: store{"/cache/pgtls"}}
	tests := map[string]struct {
		recipe recipe
		want   string
	}{
		"on a base": {
			recipe{Name: "postgres-17", Folder: "images/postgres", Suite: "trixie", Args: map[string]string{"PG_MAJOR": "17", "A": "1"}},
			"bud --isolation chroot --layers --format docker --pull-never --tag localhost/pgtls/postgres-17:k" +
				" --file /src/images/postgres/Dockerfile --build-arg A=1 --build-arg PG_MAJOR=17" +
				" --volume /cache/pgtls/work/sources-trixie.list:/etc/apt/sources.list:ro /src/images/postgres"},
		"a binary from scratch": {
			recipe{Name: "agent", Folder: "images/agent", Binary: "agent"},
			"bud --isolation chroot --layers --format docker --pull-never --tag localhost/pgtls/agent:k" +
				" --file /src/images/agent/Dockerfile /src/bin"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			i := image{Name: tt.recipe.Name, Reference: tt.recipe.reference("k"), recipe: tt.recipe}
			if diff := cmp.Diff(strings.Fields(tt.want), b.plan(i).arguments()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The catalog is made anew for each run, but a recipe's arguments are a map: the base must not leak into it.
func TestPlanLeavesTheRecipeAlone(t *testing.T) {
	b := &builder{}
	i := image{recipe: recipe{Args: map[string]string{"PG_MAJOR": "17"}}}
	b.plan(i).Args["BASE"] = "localhost/debian:trixie"
	if diff := cmp.Diff(map[string]string{"PG_MAJOR": "17"}, i.recipe.Args); diff != "" {
		t.Error(diff)
	}
}

func TestProgressRepeatsWhatIsStillRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, time.Now)
		failure := errors.New("no space")
		err := p.during("client", "building", func() error {
			time.Sleep(2*stillRunning + time.Second)
			return failure
		})
		if !errors.Is(err, failure) {
			t.Errorf("got error %v", err)
		}
		p.say("client", "done in %d s", 31)
		want := "   0.0s  client          building\n" +
			"  15.0s  client          still building\n" +
			"  30.0s  client          still building\n" +
			"  31.0s  client          done in 31 s\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPushTarget(t *testing.T) {
	i := image{Reference: recipe{Name: "agent"}.reference("0123456789abcdef")}
	for _, registry := range []string{"registry.test:5000/team", "registry.test:5000/team/"} {
		if got, want := pushTarget(registry, i), "registry.test:5000/team/agent:0123456789abcdef"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPushWithoutRegistryTellsWhatToSet(t *testing.T) {
	err := runPush(t.Context(), nil, "", &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "IMAGE_REGISTRY is empty: set it to HOST/PREFIX") {
		t.Errorf("got error %v", err)
	}
}

func TestLastLines(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		want string
	}{
		{"a\nb\nc\n", 2, "b\nc"},
		{"a\n", 2, "a"},
		{"", 2, ""},
	} {
		if got := lastLines(tt.text, tt.n); got != tt.want {
			t.Errorf("the last %d lines of %q: got %q, want %q", tt.n, tt.text, got, tt.want)
		}
	}
}
