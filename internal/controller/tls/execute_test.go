package tls

import (
	"context"
	"errors"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
)

// In one round everything is done that can be: a job that fails ends its own lane.
func TestALaneThatFailsEndsAlone(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "x", errors.New("modified"))
	for name, c := range map[string]struct {
		err        error
		conflict   bool
		remembered int
	}{
		"refused":    {errors.New("no"), false, 1},
		"conflict":   {conflict, true, 0},
		"look again": {act.ErrLookAgain, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			var done []string
			one := func(key string, err error) job {
				return job{key: key, object: "Secret " + key, step: key, do: func(context.Context) error {
					done = append(done, key)
					return err
				}}
			}
			err := h.r.execute(t.Context(), tlstest.Hippo, work{lanes: [][]job{
				{one("a1", nil), one("a2", c.err), one("a3", nil)}, {one("b", nil)}, {one("transition", nil)},
			}})
			if want := []string{"a1", "a2", "b", "transition"}; !slices.Equal(done, want) || (err != nil) != c.conflict {
				t.Errorf("done %v, want %v; %v", done, want, err)
			}
			if failed := h.r.failures.of(tlstest.Hippo); len(failed) != c.remembered {
				t.Errorf("remembered: %+v", failed)
			}
			// It succeeds, and is forgotten.
			if err := h.r.execute(t.Context(), tlstest.Hippo, work{lanes: [][]job{{one("a2", nil)}}}); err != nil || len(h.r.failures.of(tlstest.Hippo)) > 0 {
				t.Errorf("%v, remembered: %+v", err, h.r.failures.of(tlstest.Hippo))
			}
		})
	}
}
