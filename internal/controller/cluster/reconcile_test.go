package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/denial"
	"pgtls.dev/pgtls/internal/controller/cluster/ha"
	"pgtls.dev/pgtls/internal/controller/cluster/memo"
	"pgtls.dev/pgtls/internal/controller/cluster/sql"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// A world is a fake API server without kubelet and controllers, and a fake of what a cluster runs.
type world struct {
	t      *testing.T
	client client.Client
	reconciler
	writes []string
	events *events.FakeRecorder
	at     time.Time
	// deny is what a write of an object comes to; nil: it is done.
	deny  func(verb, kind, name string) error
	tries map[string]int // of writes, by "verb Kind name"
	again time.Duration  // when the last round wanted another
}

// tried notes a write, and returns what it comes to.
func (w *world) tried(verb string, object client.Object) error {
	kind := object.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		gvk, err := apiutil.GVKForObject(object, w.client.Scheme())
		if err != nil {
			return err
		}
		kind = gvk.Kind
	}
	w.tries[verb+" "+objectName(kind, object.GetName())]++
	if w.deny == nil {
		return nil
	}
	return w.deny(verb, kind, object.GetName())
}

// applied returns what is applied as an object.
func applied(configuration runtime.ApplyConfiguration) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: configuration.(interface{ UnstructuredContent() map[string]any }).UnstructuredContent()}
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, events: events.NewFakeRecorder(1000), at: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), tries: map[string]int{}}
	note := func(verb string, what any) { w.writes = append(w.writes, fmt.Sprintf("%s %T", verb, what)) }
	builder := fake.NewClientBuilder()
	for _, kind := range []client.Object{
		&appsv1.StatefulSet{}, &appsv1.Deployment{}, &corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &corev1.Secret{}, &corev1.ConfigMap{},
	} {
		builder = builder.WithIndex(kind, kube.ClusterIndex, kube.LabelValue(desired.ClusterLabel))
	}
	w.client = builder.WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1beta1.PostgresCluster{}).
		WithReturnManagedFields().
		WithInterceptorFuncs(interceptor.Funcs{
			// What is made is posted, and what is there is applied over: to a test both are one.
			Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
				note("apply", obj)
				if err := w.tried("apply", obj); err != nil {
					return err
				}
				return c.Create(ctx, obj, opts...)
			},
			Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				note("apply", obj)
				if err := w.tried("apply", applied(obj)); err != nil {
					return err
				}
				if u := applied(obj); u.GetKind() == "NetworkPolicy" {
					return applyPolicy(ctx, c, u.Object)
				}
				return c.Apply(ctx, obj, opts...)
			},
			SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
				note("apply "+sub, obj)
				if err := w.tried("apply "+sub, applied(obj)); err != nil {
					return err
				}
				return c.SubResource(sub).Apply(ctx, obj, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				note("patch", obj)
				if err := w.tried("patch", obj); err != nil {
					return err
				}
				return c.Patch(ctx, obj, patch, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				note("delete", obj)
				if err := w.tried("delete", obj); err != nil {
					return err
				}
				return c.Delete(ctx, obj, opts...)
			},
		}).Build()
	w.reconciler = reconciler{
		client:   w.client,
		applier:  &kube.Applier{Client: w.client, Live: w.client, Owner: fieldOwner, ClusterLabel: desired.ClusterLabel},
		events:   w.events,
		settings: settings(),
		connect:  silence{},
		restarts: decide.NewRestarts(),
		attempts: attempt.NewMemory(),
		known:    memo.NewCredentials(),
		rendered: memo.NewRenderings(),
		denials:  denials{memory: denial.NewMemory(), events: func(context.Context, *appsv1.StatefulSet) (string, error) { return "", nil }, quotas: denial.ReadQuotas(w.client)},
		now:      func() time.Time { return w.at },
	}
	return w
}

// applyPolicy stands in for the fake API server, which cannot merge a NetworkPolicy.
func applyPolicy(ctx context.Context, c client.Client, content map[string]any) error {
	policy, live := &networkingv1.NetworkPolicy{}, &networkingv1.NetworkPolicy{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, policy); err != nil {
		return err
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(policy), live); err != nil {
		return c.Create(ctx, policy, fieldOwner)
	}
	policy.ResourceVersion = live.ResourceVersion
	return c.Update(ctx, policy)
}

// silence is a cluster that does not answer.
type silence struct{}

func (silence) Patroni(string, *tls.Config) ha.API { return nil }
func (silence) Database(context.Context, string, string, *tls.Config) (sql.Database, error) {
	return nil, errors.New("connection refused")
}

// round reconciles once and returns the writes that it took.
func (w *world) round() []string {
	w.t.Helper()
	w.writes = nil
	request := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "zoo", Name: "hippo"}}
	result, err := w.Reconcile(w.t.Context(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	w.again = result.RequeueAfter
	return w.writes
}

func (w *world) exists(object client.Object, name string) bool {
	w.t.Helper()
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "zoo", Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *world) progressing() (reason, message string) {
	w.t.Helper()
	cluster := &v1beta1.PostgresCluster{}
	if !w.exists(cluster, "hippo") {
		w.t.Fatal("the cluster is gone")
	}
	for _, condition := range cluster.Status.Conditions {
		if condition.Type == progressingCondition {
			return condition.Reason, condition.Message
		}
	}
	return "", ""
}

func (w *world) told() []string {
	var told []string
	for {
		select {
		case event := <-w.events.Events:
			told = append(told, event)
		default:
			return told
		}
	}
}

func material(party string) *corev1.Secret {
	cluster := hippo()
	return &corev1.Secret{ObjectMeta: desired.Meta(cluster, desired.MaterialSecret(party), desired.ComponentLabels("hippo", desired.TLSComponent))}
}

func TestInstancesWaitForTheirMaterial(t *testing.T) {
	w := newWorld(t, hippo(withPooler), material("hippo-00-1"))
	w.round()
	for name, want := range map[string]bool{"hippo-00-0": false, "hippo-00-1": true} {
		if w.exists(&appsv1.StatefulSet{}, name) != want {
			t.Errorf("StatefulSet %s: want %v", name, want)
		}
	}
	if w.exists(&appsv1.Deployment{}, "hippo-pgbouncer") {
		t.Error("the poolers did not wait")
	}
	if reason, message := w.progressing(); reason != string(decide.AwaitingMaterial) || !strings.Contains(message, "hippo-00-0-tls") {
		t.Errorf("%s %q", reason, message)
	}
}

func TestEverythingElseIsMadeAtOnce(t *testing.T) {
	w := newWorld(t, hippo(withPooler))
	w.round()
	for name, object := range map[string]client.Object{
		"hippo-primary": &corev1.Service{}, "hippo-replicas": &corev1.Service{}, "hippo-pods": &corev1.Service{}, "hippo-pgbouncer": &corev1.Service{},
		"hippo-config": &corev1.ConfigMap{}, "hippo-pgbouncer-config": &corev1.ConfigMap{}, "hippo-pguser-hippo": &corev1.Secret{},
		"hippo-00-0-pgdata": &corev1.PersistentVolumeClaim{}, "hippo-instance": &corev1.ServiceAccount{}, "hippo-instances": &policyv1.PodDisruptionBudget{},
	} {
		if !w.exists(object, name) {
			t.Errorf("%T %s is missing", object, name)
		}
		if !metav1.IsControlledBy(object, hippo()) {
			t.Errorf("%T %s has no owner", object, name)
		}
	}
}

func TestTheSecondRoundWritesNothing(t *testing.T) {
	w := newWorld(t, hippo(withPooler), material("hippo-00-0"), material("hippo-00-1"), material("hippo-pgbouncer"))
	if first := w.round(); len(first) < 15 {
		t.Fatalf("the first round wrote only %v", first)
	}
	w.round() // the first round's objects reach the facts, and the status, with this one
	if writes := w.round(); len(writes) != 0 {
		t.Errorf("at rest: %v", writes)
	}
}

func TestAForeignSecretIsLeftAloneAndTheRestGoesOn(t *testing.T) {
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "hippo-pguser-hippo"}, Data: map[string][]byte{"k": []byte("theirs")}}
	w := newWorld(t, hippo(), theirs, material("hippo-00-0"), material("hippo-00-1"))
	w.round()
	w.exists(theirs, "hippo-pguser-hippo")
	if len(theirs.OwnerReferences) != 0 || string(theirs.Data["k"]) != "theirs" || len(theirs.Data) != 1 {
		t.Errorf("it was touched: %+v", theirs)
	}
	if !w.exists(&appsv1.StatefulSet{}, "hippo-00-0") || !w.exists(&networkingv1.NetworkPolicy{}, "hippo-instances") {
		t.Error("the rest did not go on")
	}
	if reason, message := w.progressing(); reason != string(decide.NotLabelled) || !strings.Contains(message, "hippo-pguser-hippo") {
		t.Errorf("%s %q", reason, message)
	}
	w.round()
	told := slices.DeleteFunc(w.told(), func(e string) bool { return !strings.Contains(e, string(decide.NotLabelled)) })
	if len(told) != 1 {
		t.Errorf("told %d times: %v", len(told), told)
	}
}

func TestInstancesDoNotMountAStrangersConfiguration(t *testing.T) {
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "hippo-config"}}
	w := newWorld(t, hippo(), theirs, material("hippo-00-0"), material("hippo-00-1"))
	w.round()
	if w.exists(&appsv1.StatefulSet{}, "hippo-00-0") {
		t.Error("the instance was made")
	}
}

func TestARefusedSpecChangesNothing(t *testing.T) {
	w := newWorld(t, hippo(dynamic(`{"postgresql":{"parameters":{"ssl":"off"}}}`)), material("hippo-00-0"))
	w.round()
	if w.exists(&corev1.Service{}, "hippo-primary") || w.exists(&appsv1.StatefulSet{}, "hippo-00-0") {
		t.Error("something was made")
	}
	if reason, _ := w.progressing(); reason != string(decide.SpecInvalid) {
		t.Errorf("reason %s", reason)
	}
	if told := w.told(); len(told) != 1 || !strings.Contains(told[0], "ssl") {
		t.Errorf("told %v", told)
	}
}

func TestPasswordsOutliveRoundsAndDamageIsRepaired(t *testing.T) {
	w := newWorld(t, hippo())
	secret := &corev1.Secret{}
	password := func() string {
		w.round()
		w.exists(secret, "hippo-pguser-hippo")
		return string(secret.Data["password"])
	}
	made := password()
	if again := password(); again != made || made == "" {
		t.Errorf("password %q became %q", made, again)
	}
	secret.Data["password"], secret.Data["host"] = []byte("chosen by hand"), []byte("elsewhere")
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if got := password(); got != "chosen by hand" || string(secret.Data["host"]) != "hippo-primary.zoo.svc" {
		t.Errorf("password %q, host %q", got, secret.Data["host"])
	}
	secret.Data = map[string][]byte{"password": []byte("")}
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if got := password(); got == "" || got == "chosen by hand" {
		t.Errorf("a blank password became %q", got)
	}
}

func TestTheSecretOfAUserThatIsGoneGoes(t *testing.T) {
	w := newWorld(t, hippo())
	w.round()
	cluster := &v1beta1.PostgresCluster{}
	w.exists(cluster, "hippo")
	cluster.Spec.Users = []v1beta1.UserSpec{{Name: "other"}}
	if err := w.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	w.round()
	if w.exists(&corev1.Secret{}, "hippo-pguser-hippo") || !w.exists(&corev1.Secret{}, "hippo-pguser-other") {
		t.Error("the Secrets are not those of the spec's users")
	}
}

func TestWithoutProxyItsObjectsGo(t *testing.T) {
	w := newWorld(t, hippo(withPooler), material("hippo-pgbouncer"))
	w.round()
	cluster := &v1beta1.PostgresCluster{}
	w.exists(cluster, "hippo")
	cluster.Spec.Proxy = nil
	if err := w.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	w.round()
	for name, object := range map[string]client.Object{
		"hippo-pgbouncer": &appsv1.Deployment{}, "hippo-pgbouncer-config": &corev1.ConfigMap{},
	} {
		if w.exists(object, name) {
			t.Errorf("%T %s is still there", object, name)
		}
	}
	if w.exists(&corev1.Service{}, "hippo-pgbouncer") {
		t.Error("the Service is still there")
	}
}

func patronis(name string) *corev1.ConfigMap {
	labels := map[string]string{desired.ClusterLabel: "hippo", desired.PatroniLabel: "hippo-ha"}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: name, Labels: labels}}
}

func TestAnEarlierClustersStateDoesNotHauntANewOne(t *testing.T) {
	old := pod("hippo-00-0")
	w := newWorld(t, hippo(), patronis("hippo-ha-config"), old, material("hippo-00-0"), material("hippo-00-1"))
	w.round()
	if reason, _ := w.progressing(); reason != string(decide.AwaitingLeftovers) || w.exists(&appsv1.StatefulSet{}, "hippo-00-0") {
		t.Fatalf("did not wait for the earlier pod: %s", reason)
	}
	if err := w.client.Delete(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	w.round()
	if w.exists(&corev1.ConfigMap{}, "hippo-ha-config") {
		t.Error("the earlier cluster's state is still there")
	}
	if !w.exists(&appsv1.StatefulSet{}, "hippo-00-0") {
		t.Error("the new cluster did not start")
	}
}

func TestWhatPatroniMadeGoesWithTheCluster(t *testing.T) {
	w := newWorld(t, hippo(), material("hippo-00-0"), material("hippo-00-1"))
	w.round()
	if err := w.client.Create(t.Context(), patronis("hippo-ha-leader")); err != nil {
		t.Fatal(err)
	}
	w.round()
	leader := &corev1.ConfigMap{}
	if !w.exists(leader, "hippo-ha-leader") || !metav1.IsControlledBy(leader, hippo()) {
		t.Errorf("owners %v", leader.OwnerReferences)
	}
	if writes := w.round(); len(writes) != 0 {
		t.Errorf("at rest: %v", writes)
	}
}
