package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var claimant = Claimant{Owner: owner, Labels: map[string]string{clusterLabel: "hippo", "pgtls.dev/component": "tls"}}

func controlledBy(kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "pgtls.dev/v1beta1", Kind: kind, Name: name, UID: uid, Controller: new(true)}
}

// record of fields as the API server keeps it.
func record(manager string, owner types.UID) []metav1.ManagedFieldsEntry {
	fields := `{"f:metadata":{"f:ownerReferences":{".":{},"k:{\"uid\":\"` + string(owner) + `\"}":{}}}}`
	return []metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}}
}

func plain(reference metav1.OwnerReference) metav1.OwnerReference {
	reference.Controller = nil
	return reference
}

func TestJudge(t *testing.T) {
	labelled := map[string]string{clusterLabel: "hippo", "pgtls.dev/component": "tls", "theirs": "too"}
	earlier := controlledBy("PostgresCluster", "hippo", "earlier")
	olderVersion := earlier
	olderVersion.APIVersion = "pgtls.dev/v1alpha1"
	otherGroup := earlier
	otherGroup.APIVersion = "postgres-operator.crunchydata.com/v1beta1"
	stale := Verdict{Ownership: HeldByStaleOwner, Controller: "PostgresCluster hippo"}
	restored := stale
	restored.Restored = true
	for _, c := range []struct {
		name     string
		labels   map[string]string
		owners   []metav1.OwnerReference
		deleting bool
		want     Verdict
		belongs  bool
		record   []metav1.ManagedFieldsEntry
	}{
		{"controlled by the cluster", labelled, []metav1.OwnerReference{owner}, false, Verdict{Ownership: Ours}, true, nil},
		{"controlled by the cluster, its label was taken away", nil, []metav1.OwnerReference{owner}, false, Verdict{Ownership: Ours}, true, nil},
		{"labelled, no owner", labelled, nil, false, Verdict{Ownership: Adoptable}, true, nil},
		{"labelled, owned and not controlled", labelled, []metav1.OwnerReference{plain(controlledBy("Backup", "b", "b"))}, false, Verdict{Ownership: Adoptable}, true, nil},
		{"labelled, the cluster owns it and controls it not", labelled, []metav1.OwnerReference{plain(owner)}, false, Verdict{Ownership: Adoptable}, true, nil},
		{"of an earlier cluster, whose record is not known", labelled, []metav1.OwnerReference{earlier}, false, stale, false, nil},
		{"of an earlier cluster, whose operator wrote so", labelled, []metav1.OwnerReference{earlier}, false, stale, false, record("pgtls-tls", "earlier")},
		{"of an earlier cluster, restored", labelled, []metav1.OwnerReference{earlier}, false, restored, true, record("kubectl", "earlier")},
		{"of an earlier cluster, restored, and of another one before", labelled, []metav1.OwnerReference{earlier}, false, restored, true, record("pgtls-tls", "yet earlier")},
		{"of an earlier cluster in an older version of the API", labelled, []metav1.OwnerReference{olderVersion}, false, restored, true, record("velero", "earlier")},
		{"of an earlier cluster, not labelled", nil, []metav1.OwnerReference{earlier}, false, Verdict{Ownership: Unlabelled, Label: "pgtls.dev/cluster=hippo"}, false, nil},
		{"of a kind of the same name in another group", labelled, []metav1.OwnerReference{otherGroup}, false, Verdict{Ownership: OfOtherController, Controller: "PostgresCluster hippo"}, false, nil},
		{"labelled, of another cluster", labelled, []metav1.OwnerReference{controlledBy("PostgresCluster", "rhino", "r")}, false, Verdict{Ownership: OfOtherController, Controller: "PostgresCluster rhino"}, false, nil},
		{"labelled, of another kind", labelled, []metav1.OwnerReference{controlledBy("Deployment", "hippo", "d")}, false, Verdict{Ownership: OfOtherController, Controller: "Deployment hippo"}, false, nil},
		{"no label, no owner", nil, nil, false, Verdict{Ownership: Unlabelled, Label: "pgtls.dev/cluster=hippo"}, false, nil},
		{"label of another cluster", map[string]string{clusterLabel: "rhino"}, nil, false, Verdict{Ownership: Unlabelled, Label: "pgtls.dev/cluster=hippo"}, false, nil},
		{"label of another component", map[string]string{clusterLabel: "hippo", "pgtls.dev/component": "user"}, nil, false, Verdict{Ownership: Unlabelled, Label: "pgtls.dev/component=tls"}, false, nil},
		{"labelled, being deleted", labelled, nil, true, Verdict{Ownership: Adoptable, Deleting: true}, false, nil},
		{"of an earlier cluster, being deleted", labelled, []metav1.OwnerReference{earlier}, true, Verdict{Ownership: HeldByStaleOwner, Deleting: true, Controller: "PostgresCluster hippo", Restored: true}, false, record("kubectl", "earlier")},
		{"of the cluster, being deleted", labelled, []metav1.OwnerReference{owner}, true, Verdict{Ownership: Ours, Deleting: true}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			live := &metav1.ObjectMeta{Labels: c.labels, OwnerReferences: c.owners, ManagedFields: c.record}
			if c.deleting {
				live.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			}
			got := Judge(live, claimant)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if got.Belongs() != c.belongs {
				t.Errorf("belongs: %v", got.Belongs())
			}
		})
	}
}

func TestAClaimantWithoutLabelsTakesNothing(t *testing.T) {
	if v := Judge(&metav1.ObjectMeta{}, Claimant{Owner: owner}); v.Ownership != Unlabelled || v.Takeable() {
		t.Errorf("got %+v", v)
	}
}

// A message about a claim or an authority that advised to delete it would cost data.
func TestNoMessageAdvisesToDelete(t *testing.T) {
	for _, ownership := range []Ownership{Ours, Adoptable, HeldByStaleOwner, OfOtherController, Unlabelled} {
		for _, deleting := range []bool{false, true} {
			v := Verdict{Ownership: ownership, Deleting: deleting, Controller: "Deployment x", Label: "pgtls.dev/cluster=hippo"}
			message := v.Message("PersistentVolumeClaim zoo/hippo-00-0-pgdata")
			for _, advice := range []string{"delete it", "delete the", "or delete", "remove it"} {
				if strings.Contains(message, advice) || strings.Contains(message, "\n") {
					t.Errorf("%+v: %q", v, message)
				}
			}
			if !strings.Contains(message, "hippo-00-0-pgdata") {
				t.Errorf("%+v: the object is missing in %q", v, message)
			}
		}
	}
}

func TestMessagesNameTheRemedy(t *testing.T) {
	for reason, want := range map[Reason][]string{
		NotLabelled:              {"pgtls.dev/cluster=hippo", "add the label", "another name"},
		OwnedByAnotherController: {"Deployment x", "another name"},
	} {
		v := Verdict{Ownership: map[Reason]Ownership{NotLabelled: Unlabelled, OwnedByAnotherController: OfOtherController}[reason], Controller: "Deployment x", Label: "pgtls.dev/cluster=hippo"}
		if v.Reason() != reason {
			t.Errorf("%+v: reason %s", v, v.Reason())
		}
		for _, part := range want {
			if message := v.Message("Secret zoo/a"); !strings.Contains(message, part) {
				t.Errorf("%s: %q is missing in %q", reason, part, message)
			}
		}
	}
}

func TestWhatIsNotTheClustersIsLeftAlone(t *testing.T) {
	stranger := controlledBy("Other", "x", "stranger")
	for name, c := range map[string]struct {
		labels map[string]string
		owners []metav1.OwnerReference
		reason Reason
	}{
		"no label, no owner":                       {nil, nil, NotLabelled},
		"another cluster's label":                  {map[string]string{clusterLabel: "rhino"}, nil, NotLabelled},
		"labelled, owned by another controller":    {map[string]string{clusterLabel: "hippo"}, []metav1.OwnerReference{stranger}, OwnedByAnotherController},
		"no label, of an earlier cluster":          {nil, []metav1.OwnerReference{controlledBy("PostgresCluster", "hippo", "earlier")}, NotLabelled},
		"no label, owned but not controlled by us": {nil, []metav1.OwnerReference{plain(owner)}, NotLabelled},
	} {
		t.Run(name, func(t *testing.T) {
			theirs := configMap("a", map[string]string{"k": "theirs"})
			theirs.Labels, theirs.OwnerReferences = c.labels, c.owners
			w := newWorld(t, theirs)
			_, err := w.applier.Apply(t.Context(), configMap("a", map[string]string{"k": "ours"}))
			notOurs, ok := AsOwnership(err)
			if !ok || notOurs.Object != (Object{"ConfigMap", "zoo", "a"}) || notOurs.Verdict.Reason() != c.reason {
				t.Fatalf("got %v", err)
			}
			live := configMap("a", nil)
			w.get(t, live)
			if live.Data["k"] != "theirs" || len(w.writes) != 0 {
				t.Errorf("it was touched: %v %v", live.Data, w.writes)
			}
		})
	}
}

func TestALabelledObjectWithoutControllerIsTakenBackAndThenWritten(t *testing.T) {
	for name, c := range map[string]struct {
		owners []metav1.OwnerReference
		reason Reason
	}{
		"orphaned":                        {nil, TakenBack},
		"restored with the earlier owner": {[]metav1.OwnerReference{controlledBy("PostgresCluster", "hippo", "earlier")}, StaleOwner},
	} {
		t.Run(name, func(t *testing.T) {
			restored := configMap("a", map[string]string{"k": "old", "theirs": "x"})
			restored.OwnerReferences = c.owners
			w := newWorld(t)
			if err := w.client.Create(t.Context(), restored, client.FieldOwner("kubectl")); err != nil {
				t.Fatal(err)
			}
			w.applier.Live = w.client
			var taken []Reason
			w.applier.TookBack = func(_ context.Context, object Object, v Verdict) {
				taken = append(taken, v.Reason())
				if object.String() != "ConfigMap zoo/a" {
					t.Errorf("object %s", object)
				}
			}
			for _, step := range []struct {
				outcome Outcome
				value   string
			}{{Recovered, "old"}, {Written, "new"}, {InForce, "new"}} {
				outcome, err := w.applier.Apply(t.Context(), configMap("a", map[string]string{"k": "new"}))
				if err != nil || outcome != step.outcome {
					t.Fatalf("%s, %v; want %s", outcome, err, step.outcome)
				}
				live := configMap("a", nil)
				w.get(t, live)
				if diff := cmp.Diff([]metav1.OwnerReference{owner}, live.OwnerReferences); diff != "" || live.Data["k"] != step.value || live.Data["theirs"] != "x" {
					t.Error(diff, live.Data)
				}
			}
			if diff := cmp.Diff([]Reason{c.reason}, taken); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// After "kubectl delete" and "kubectl apply" the garbage collector is still about the earlier cluster's objects. Taking some of them back
// would make a cluster of old and new parts, with data that its user deleted.
func TestWhatTheOperatorMadeForAnEarlierClusterIsLeftToTheGarbageCollector(t *testing.T) {
	w := newWorld(t)
	w.applier.Live = w.client
	earlier := configMap("a", map[string]string{"k": "1"})
	earlier.OwnerReferences[0].UID = "earlier"
	w.applier.Owner = "pgtls-cluster"
	w.apply(t, earlier)
	w.writes = nil
	_, err := w.applier.Apply(t.Context(), configMap("a", map[string]string{"k": "2"}))
	notOurs, ok := AsOwnership(err)
	if !ok || notOurs.Verdict.Reason() != StaleOwner || len(w.writes) != 0 {
		t.Fatalf("got %v, wrote %v", err, w.writes)
	}
	if text := err.Error(); !strings.Contains(text, "to keep it, remove that owner reference") {
		t.Errorf("message %q", text)
	}
}

func TestWithoutAClusterLabelNothingIsTakenBack(t *testing.T) {
	restored := configMap("a", nil)
	restored.OwnerReferences = nil
	w := newWorld(t, restored)
	w.applier.ClusterLabel = ""
	if _, err := w.applier.Apply(t.Context(), configMap("a", nil)); err == nil || len(w.writes) != 0 {
		t.Errorf("got %v, wrote %v", err, w.writes)
	}
}

func TestTakeBackSetsTheControllerAndNothingElse(t *testing.T) {
	backup := plain(controlledBy("Backup", "nightly", "b"))
	orphan := configMap("hippo-ha-config", map[string]string{"k": "1"})
	orphan.OwnerReferences = []metav1.OwnerReference{backup, controlledBy("PostgresCluster", "hippo", "earlier")}
	orphan.Finalizers = []string{"example.org/theirs"}
	w := newWorld(t)
	if err := w.client.Create(t.Context(), orphan, client.FieldOwner("velero")); err != nil {
		t.Fatal(err)
	}
	w.writes = nil
	live := configMap("hippo-ha-config", nil)
	w.get(t, live)
	before := live.DeepCopy()
	claimant := Claimant{Owner: owner, Labels: map[string]string{clusterLabel: "hippo"}}
	if err := w.applier.TakeBack(t.Context(), live, claimant); err != nil {
		t.Fatal(err)
	}
	after := configMap("hippo-ha-config", nil)
	w.get(t, after)
	if diff := cmp.Diff(after, live); diff != "" {
		t.Errorf("the caller's object is not the live one: %s", diff)
	}
	before.OwnerReferences = []metav1.OwnerReference{backup, owner}
	before.ResourceVersion, before.ManagedFields, after.ManagedFields, after.ResourceVersion = "", nil, nil, ""
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	if err := w.applier.TakeBack(t.Context(), live, claimant); err != nil || len(w.writes) != 1 {
		t.Errorf("a second time: %v, writes %v", err, w.writes)
	}
}

func TestTakeBackTakesOnlyWhatWasLookedAt(t *testing.T) {
	orphan := configMap("a", nil)
	orphan.OwnerReferences = nil
	w := newWorld(t, orphan)
	seen := configMap("a", nil)
	w.get(t, seen)
	changed := seen.DeepCopy()
	changed.Data = map[string]string{"k": "2"}
	if err := w.client.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	err := w.applier.TakeBack(t.Context(), seen, Claimant{Owner: owner, Labels: map[string]string{clusterLabel: "hippo"}})
	if !apierrors.IsConflict(err) {
		t.Fatalf("got %v", err)
	}
	w.get(t, changed)
	if len(changed.OwnerReferences) != 0 {
		t.Errorf("a later version was taken: %v", changed.OwnerReferences)
	}
}

func TestWhatIsBeingDeletedIsNeverTakenBackNorWritten(t *testing.T) {
	for name, owners := range map[string][]metav1.OwnerReference{"orphaned": nil, "ours": {owner}} {
		t.Run(name, func(t *testing.T) {
			going := configMap("a", map[string]string{"k": "old"})
			going.OwnerReferences, going.Finalizers = owners, []string{"example.org/theirs"}
			w := newWorld(t, going)
			if err := w.client.Delete(t.Context(), going); err != nil {
				t.Fatal(err)
			}
			w.writes = nil
			_, err := w.applier.Apply(t.Context(), configMap("a", map[string]string{"k": "new"}))
			notOurs, ok := AsOwnership(err)
			if !ok || notOurs.Verdict.Reason() != BeingDeleted || len(w.writes) != 0 {
				t.Errorf("got %v, wrote %v", err, w.writes)
			}
		})
	}
}

// An error of the API server names act and object, once, and can be told apart.
func TestAFailedRequestNamesItsObject(t *testing.T) {
	w := newWorld(t)
	denied := apierrors.NewForbidden(corev1.Resource("configmaps"), "a", nil)
	w.fails = denied
	_, err := w.applier.Apply(t.Context(), configMap("a", nil))
	failure, ok := AsObject(err)
	if !ok || failure.Object != (Object{"ConfigMap", "zoo", "a"}) || !apierrors.IsForbidden(err) {
		t.Fatalf("got %v", err)
	}
	if got := err.Error(); strings.Count(got, "creating ConfigMap zoo/a") != 1 {
		t.Errorf("message %q", got)
	}
}
