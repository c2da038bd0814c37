package tls

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/delivery/kube"
)

// The cache of this house never gets to hold what the operator writes.
func TestACacheThatLagsCausesNoSecondIssueNorEvent(t *testing.T) {
	h := newFixture(t)
	h.cache, h.lags = newFixture(t).client, true
	h.restart()
	_, first := h.reconcile()
	want := []string{"create hippo-server-ca-g1", "create hippo-client-ca-g1", "create hippo-a-0-tls", "create hippo-operator-tls", "apply status"}
	for _, write := range want {
		if n := len(slices.DeleteFunc(slices.Clone(first), func(w string) bool { return w != write })); n != 1 {
			t.Errorf("%s: %d times in %v", write, n, first)
		}
	}
	h.events()
	for range 3 {
		if result, writes := h.reconcile(); len(writes) > 0 || result.RequeueAfter > kube.CacheLag*2 {
			t.Errorf("the cache lags still: wrote %v, and looks again in %s", writes, result.RequeueAfter)
		}
	}
	if told := h.events(); len(told) > 0 {
		t.Errorf("told again: %v", told)
	}
}

// Another operator has made everything, and the cache of this one knows of nothing.
func TestASecondOperatorWithAnOldCacheChangesNothing(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	before := map[string]string{}
	for _, name := range append(slices.Clone(materials), "hippo-server-ca-g1", "hippo-client-ca-g1-copy") {
		before[name] = h.secret(name).ResourceVersion
	}
	status := h.cluster().ResourceVersion
	h.cache, h.lags = newFixture(t).client, true
	h.restart()
	_, attempts := h.reconcile()
	if !slices.Contains(attempts, "create hippo-server-ca-g1") {
		t.Errorf("the cache knows of everything: this shows nothing: %v", attempts)
	}
	for name, version := range before {
		if h.secret(name).ResourceVersion != version {
			t.Errorf("%s was written again", name)
		}
	}
	if told := h.events(); len(told) > 0 || h.cluster().ResourceVersion != status {
		t.Errorf("told %v, status written: %v", told, h.cluster().ResourceVersion != status)
	}
}

// pastCache notes the reads that do not come from the cache, but for those of Certificates: a fake has no generations.
func (h *fixture) pastCache(reads *[]string) {
	h.r.gatherer.Live = interceptor.NewClient(h.client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			*reads = append(*reads, "get "+key.Name)
			return c.Get(ctx, key, object, options...)
		},
	})
}

func TestWithoutPodsNothingIsReadPastTheCache(t *testing.T) {
	h := newFixture(t)
	var reads []string
	h.pastCache(&reads)
	for range 2 {
		if h.reconcile(); len(reads) > 0 {
			t.Errorf("there were %v", reads)
		}
	}
}

// A list without the index walks the whole namespace, so that the work for one cluster grows with its neighbours.
func TestTheCacheIsAskedByItsIndex(t *testing.T) {
	h := newFixture(t)
	lists := 0
	h.cache = interceptor.NewClient(h.client.(client.WithWatch), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			lists++
			applied := (&client.ListOptions{}).ApplyOptions(options)
			if applied.FieldSelector == nil {
				t.Errorf("%T is listed by a walk of the namespace", list)
			} else if value, exact := applied.FieldSelector.RequiresExactMatch(kube.ClusterIndex); !exact || value != tlstest.Hippo.Name {
				t.Errorf("%T is listed by %s", list, applied.FieldSelector)
			}
			return c.List(ctx, list, options...)
		},
	})
	h.restart()
	if h.reconcile(); lists == 0 {
		t.Error("nothing was listed: this shows nothing")
	}
}

func TestATransitionIsDecidedOnWhatIsStored(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	cluster := h.cluster()
	cluster.Annotations = map[string]string{"pgtls.dev/rotate-authority-requested-at": "server:1"}
	if err := h.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	var reads []string
	h.pastCache(&reads)
	before := -1
	h.around = func(write string, do func() error) error {
		if write == "create hippo-server-ca-g2" {
			before = len(reads)
		}
		return do()
	}
	if h.reconcile(); before < 0 {
		t.Fatal("there was no transition: this shows nothing")
	}
	if before == 0 {
		t.Error("the next generation was made on what the cache says")
	}
}

func TestWhatBearsNoLabelIsFoundAndStaysFound(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	names := []string{"hippo-server-ca-g1", "hippo-client-ca-g1-copy", instanceMaterial}
	before := map[string]string{}
	for _, name := range names {
		h.damage(name, func(s *corev1.Secret) { s.Labels = nil })
		before[name] = string(h.secret(name).UID)
	}
	h.restart()
	for range 3 {
		_, writes := h.reconcile()
		if i := slices.IndexFunc(writes, func(w string) bool { return strings.Contains(w, "-g2") }); i >= 0 {
			t.Errorf("the authority is taken for lost: %v", writes)
		}
	}
	for _, name := range names {
		if string(h.secret(name).UID) != before[name] {
			t.Errorf("%s was made anew", name)
		}
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("at rest there were writes: %v", writes)
	}
}

func TestAClusterThatIsGoneIsForgotten(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	if err := h.client.Delete(t.Context(), h.cluster()); err != nil {
		t.Fatal(err)
	}
	h.r.writes.Forget(tlstest.Hippo)
	for _, source := range []gather.Source{gather.FromCache, gather.PastCache} {
		if _, err := h.r.gatherer.ReadCluster(t.Context(), tlstest.Hippo, source); !errors.Is(err, gather.ErrGone) {
			t.Errorf("%v: %v", source, err)
		}
	}
}
