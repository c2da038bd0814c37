package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// orphaned is a cluster that was deleted with --cascade=orphan and applied again: everything is there and has no owner.
func orphaned(t *testing.T) *world {
	t.Helper()
	w, _ := running(t, withPooler, material("hippo-pgbouncer"))
	w.round()
	for _, name := range []string{"hippo-ha-config", "hippo-ha-leader"} {
		w.must(w.client.Create(t.Context(), patronis(name)))
	}
	w.round()
	w.round()
	w.wantAllBut()
	for _, object := range w.withPatronis() {
		live := w.live(object)
		live.SetOwnerReferences(nil)
		w.must(w.client.Update(t.Context(), live))
	}
	w.applyAgain()
	w.told()
	return w
}

const laterUID = types.UID("uid-of-the-second-hippo")

// applyAgain makes the cluster anew, as another object.
func (w *world) applyAgain(change ...func(*v1beta1.PostgresCluster)) {
	w.t.Helper()
	earlier := &v1beta1.PostgresCluster{}
	w.exists(earlier, "hippo")
	w.must(w.client.Delete(w.t.Context(), earlier))
	again := hippo(append([]func(*v1beta1.PostgresCluster){withPooler}, change...)...)
	again.UID = laterUID
	w.must(w.client.Create(w.t.Context(), again))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) live(object string) client.Object {
	w.t.Helper()
	kind, name, _ := strings.Cut(object, " ")
	live := emptyOf(kind)
	if !w.exists(live, name) {
		w.t.Fatalf("%s is missing", object)
	}
	return live
}

func (w *world) withPatronis() []string {
	objects := []string{"ConfigMap hippo-ha-config", "ConfigMap hippo-ha-leader"}
	for object := range everything() {
		objects = append(objects, object)
	}
	return objects
}

func (w *world) ownedBy(object string, uid types.UID) bool {
	w.t.Helper()
	controller := metav1.GetControllerOf(w.live(object))
	return controller != nil && controller.UID == uid && len(w.live(object).GetOwnerReferences()) == 1
}

func TestWalkAnOrphanedClusterIsTakenBack(t *testing.T) {
	w := orphaned(t)
	before := map[string]client.Object{}
	for _, object := range w.withPatronis() {
		before[object] = w.live(object)
	}
	for range 4 {
		for _, written := range w.round() {
			if strings.HasPrefix(written, "delete") {
				t.Errorf("something was deleted: %s", written)
			}
		}
	}
	for object, was := range before {
		if !w.ownedBy(object, laterUID) {
			t.Errorf("%s was not taken back: %v", object, w.live(object).GetOwnerReferences())
		}
		if w.live(object).GetUID() != was.GetUID() {
			t.Errorf("%s is another object", object)
		}
	}
	if was, is := before["Secret hippo-pguser-hippo"].(*corev1.Secret), w.live("Secret hippo-pguser-hippo").(*corev1.Secret); string(was.Data["password"]) != string(is.Data["password"]) {
		t.Error("the user has another password")
	}
	if was, is := before["StatefulSet hippo-00-0"].(*appsv1.StatefulSet), w.live("StatefulSet hippo-00-0").(*appsv1.StatefulSet); was.Spec.Template.Annotations[desired.ConfigHashAnnotation] != is.Spec.Template.Annotations[desired.ConfigHashAnnotation] {
		t.Error("the pods would be replaced")
	}
	if writes := w.round(); len(writes) != 0 {
		t.Errorf("at rest: %v", writes)
	}
	told := slices.DeleteFunc(w.told(), func(e string) bool { return !strings.Contains(e, string(decide.TakenBack)) })
	patronis := 2 // ConfigMaps, which Patroni makes without an owner in every cluster: no event tells of them
	if len(told) != len(before)-patronis || slices.ContainsFunc(told, func(e string) bool { return strings.Contains(e, "hippo-ha-") }) {
		t.Errorf("%d of %d were told: %v", len(told), len(before)-patronis, told)
	}
}

// One object of another controller does not keep the others from being taken back.
func TestWalkWhatAnotherControllerTookStaysItsOwn(t *testing.T) {
	w := orphaned(t)
	stolen := w.live("Service hippo-primary")
	stolen.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Other", Name: "x", UID: "x", Controller: ptr.To(true)}})
	w.must(w.client.Update(t.Context(), stolen))
	w.round()
	w.round()
	for _, object := range w.withPatronis() {
		if got, want := w.ownedBy(object, laterUID), object != "Service hippo-primary"; got != want {
			t.Errorf("%s taken back: %v, want %v", object, got, want)
		}
	}
	if reason, message := w.progressing(); reason != string(decide.OwnedByAnotherController) || !strings.Contains(message, "Other x") || strings.Contains(message, "delete") {
		t.Errorf("%s %q", reason, message)
	}
}

// After "kubectl delete" and "kubectl apply" the earlier cluster's objects have its UID until the garbage collector comes.
func TestWhatTheGarbageCollectorIsAboutToTakeIsLeftToIt(t *testing.T) {
	w, _ := running(t, withPooler, material("hippo-pgbouncer"))
	w.round()
	w.round()
	w.applyAgain()
	w.round()
	for object := range everything() {
		if w.ownedBy(object, laterUID) {
			t.Errorf("%s was taken from the garbage collector", object)
		}
	}
	if _, message := w.progressing(); !strings.Contains(message, "to keep it, remove that owner reference") {
		t.Errorf("message %q", message)
	}
	if w.again == 0 || w.again > decide.Soon {
		t.Errorf("the next look is after %v, and no watch tells", w.again)
	}
	for object := range everything() { // the garbage collector, and that of the StatefulSets
		w.must(w.client.Delete(t.Context(), w.live(object)))
	}
	for _, instance := range []string{"hippo-00-0", "hippo-00-1"} {
		w.must(w.client.Delete(t.Context(), pod(instance)))
		w.must(w.client.Update(t.Context(), reowned(material(instance))))
	}
	w.must(w.client.Update(t.Context(), reowned(material("hippo-pgbouncer"))))
	w.round()
	w.round()
	w.wantAllBut()
	if !w.ownedBy("PersistentVolumeClaim hippo-00-0-pgdata", laterUID) {
		t.Error("the new cluster has no claim of its own")
	}
}

func reowned(secret *corev1.Secret) *corev1.Secret {
	secret.OwnerReferences[0].UID = laterUID
	return secret
}

func claim(instance string, made time.Time) *corev1.PersistentVolumeClaim {
	labels := desired.ComponentLabels("hippo", desired.InstanceComponent)
	labels[desired.InstanceLabel] = instance
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: "zoo", Name: desired.VolumeName(instance), Labels: labels, CreationTimestamp: metav1.NewTime(made),
	}}
}

// Restored with the data and without the StatefulSets: Patroni's ConfigMaps belong to the data.
func TestWalkPatronisStateStaysWithRestoredData(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	made := func(c *v1beta1.PostgresCluster) { c.CreationTimestamp = metav1.NewTime(noon) }
	for name, c := range map[string]struct {
		claims []client.Object
		kept   bool
	}{
		"claims older than the cluster":     {[]client.Object{claim("hippo-00-0", noon.Add(-time.Second))}, true},
		"claims that this cluster made":     {[]client.Object{claim("hippo-00-0", noon)}, false},
		"no claims":                         {nil, false},
		"a claim of an instance not wanted": {[]client.Object{claim("hippo-00-7", noon.Add(-time.Hour))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(c.claims, hippo(made), patronis("hippo-ha-config"), material("hippo-00-0"), material("hippo-00-1"))...)
			w.round()
			w.round()
			config := &corev1.ConfigMap{}
			if got := w.exists(config, "hippo-ha-config"); got != c.kept {
				t.Fatalf("kept: %v, want %v", got, c.kept)
			}
			if c.kept && !metav1.IsControlledBy(config, hippo()) {
				t.Error("it was not taken back")
			}
			if !w.exists(&appsv1.StatefulSet{}, "hippo-00-0") {
				t.Error("the cluster did not start")
			}
		})
	}
}

// A spec that was applied again with fewer instances must not cost the data of an orphan.
func TestOrphansThatTheSpecDoesNotWantAreLeftAlone(t *testing.T) {
	extra := statefulSet("hippo-00-2")
	extra.OwnerReferences = nil
	user := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "hippo-pguser-old", Labels: map[string]string{desired.ClusterLabel: "hippo", desired.UserLabel: "old"}}}
	w, z := running(t, asItIs, extra, claim("hippo-00-2", time.Time{}), claim("hippo-00-3", time.Time{}), user)
	z.rows = func(string) [][]string { return nil }
	for range 4 {
		w.round()
	}
	for name, object := range map[string]client.Object{"hippo-00-2": &appsv1.StatefulSet{}, "hippo-00-2-pgdata": &corev1.PersistentVolumeClaim{}, "hippo-00-3-pgdata": &corev1.PersistentVolumeClaim{}, "hippo-pguser-old": &corev1.Secret{}} {
		if !w.exists(object, name) || len(object.GetOwnerReferences()) != 0 {
			t.Errorf("%T %s was deleted or taken", object, name)
		}
	}
	c := w.condition(progressingCondition)
	if c.Status != metav1.ConditionFalse || c.Reason != string(decide.OrphanNotWanted) || strings.Contains(c.Message, "delete ") {
		t.Errorf("%s %s %q", c.Status, c.Reason, c.Message)
	}
	if want := "PersistentVolumeClaim hippo-00-2-pgdata, PersistentVolumeClaim hippo-00-3-pgdata, Secret hippo-pguser-old, StatefulSet hippo-00-2: "; !strings.HasPrefix(c.Message, want) {
		t.Errorf("message %q", c.Message)
	}
	if got := w.condition(readyCondition); got.Status != metav1.ConditionTrue || w.again != 0 {
		t.Errorf("Ready is %s %s, the next round after %v", got.Status, got.Reason, w.again)
	}
	if writes := w.round(); len(writes) != 0 {
		t.Errorf("at rest: %v", writes)
	}
}

// An orphan is reported no more once it is kept apart or wanted.
func TestAnOrphanThatIsKeptApartIsReportedNoMore(t *testing.T) {
	w, z := running(t, asItIs, claim("hippo-00-3", time.Time{}))
	z.rows = func(string) [][]string { return nil }
	w.round()
	if reason, _ := w.progressing(); reason != string(decide.OrphanNotWanted) {
		t.Fatalf("reason %s", reason)
	}
	apart := w.live("PersistentVolumeClaim hippo-00-3-pgdata")
	apart.SetLabels(nil)
	w.must(w.client.Update(t.Context(), apart))
	w.round()
	w.round()
	if reason, message := w.progressing(); reason != string(decide.Settled) {
		t.Errorf("%s %q", reason, message)
	}
}

// Poolers of an orphaned cluster go on although the spec has none, so that they are named too.
func TestWalkOrphanedPoolersAreReported(t *testing.T) {
	w := orphaned(t)
	w.applyAgain(func(c *v1beta1.PostgresCluster) { c.Spec.Proxy = nil })
	for range 4 {
		w.round()
	}
	if _, message := w.progressing(); !strings.Contains(message, "Deployment hippo-pgbouncer: ") {
		t.Errorf("message %q", message)
	}
	w.wantAllBut()
}

// A restored claim that differs from the spec is the data all the same.
func TestARestoredClaimIsTakenBackThoughItCannotBeChanged(t *testing.T) {
	w := newWorld(t, hippo(), claim("hippo-00-0", time.Time{}), material("hippo-00-0"), material("hippo-00-1"))
	w.deny = func(verb, kind, name string) error {
		if verb == "apply" && kind == "PersistentVolumeClaim" && name == "hippo-00-0-pgdata" {
			return lasting()["Forbidden"](0)
		}
		return nil
	}
	w.round()
	w.round()
	if !w.ownedBy("PersistentVolumeClaim hippo-00-0-pgdata", "uid-of-hippo") || !w.exists(&appsv1.StatefulSet{}, "hippo-00-0") {
		t.Error("the instance did not start with its data")
	}
}
