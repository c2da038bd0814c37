package tls

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// fixture is a cluster in an API server that is a fake; the end-to-end stories show
// the same on a real one.
type fixture struct {
	t      *testing.T
	client client.Client
	mu     sync.Mutex
	now    time.Time
	writes []string
	r      *Reconciler
	told   *events.FakeRecorder
	stop   context.CancelFunc // ends the Reconciler's goroutines

	// around is called for each write; it may do it, or fail, or both.
	around func(write string, do func() error) error
	// reading is called before each read, and may refuse it.
	reading func(key client.ObjectKey, object client.Object) error

	made     int
	cache    client.Reader // in place of client
	lags     bool          // the cache does not hold yet what was written
	swept    []string      // sessions that were ended, by pod and serial number
	wire     *agenttest.Wire
	pods     map[string]*simPod // by address
	probed   evidence.Probe     // in place of look
	sessions []postgres.Session // of every PostgreSQL
	theirs   map[string]string  // resource versions of the user's Secrets
}

// write notes a write and takes it, unless the test has other plans.
func (h *fixture) write(what string, do func() error) error {
	h.writes = append(h.writes, what)
	if h.around != nil {
		return h.around(what, do)
	}
	return do()
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	h := &fixture{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), wire: agenttest.NewWire(), pods: map[string]*simPod{}}
	builder := fake.NewClientBuilder()
	for _, kind := range []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Pod{}, &corev1.Service{}} {
		builder = builder.WithIndex(kind, kube.ClusterIndex, kube.LabelValue(desired.ClusterLabel))
	}
	base := builder.WithScheme(scheme).WithStatusSubresource(&v1beta1.PostgresCluster{}, &corev1.Pod{}, &corev1.Service{}).
		WithIndex(&v1beta1.PostgresCluster{}, referenceIndex, referencesIn).
		WithObjects(append(objects, append(tlstest.SomeServices(), tlstest.ACluster())...)...).Build()
	h.client = interceptor.NewClient(base, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if h.reading != nil {
				if err := h.reading(key, obj); err != nil {
					return err
				}
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if of, ok := list.(*unstructured.UnstructuredList); ok && h.reading != nil {
				one := &unstructured.Unstructured{}
				one.SetKind(strings.TrimSuffix(of.GetKind(), "List"))
				if err := h.reading(client.ObjectKey{}, one); err != nil {
					return err
				}
			}
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			name := "create " + obj.GetName()
			if obj.GetObjectKind().GroupVersionKind().Kind == certmanager.CertificateKind {
				name = "apply Certificate" // what is made is posted
			}
			if h.made++; obj.GetUID() == "" {
				obj.SetUID(types.UID(fmt.Sprintf("uid-%d", h.made))) // as an API server does
			}
			return h.write(name, func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return h.write("update "+obj.GetName(), func() error { return c.Update(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return h.write("delete "+obj.GetName(), func() error { return c.Delete(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return h.write("patch "+obj.GetName(), func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return h.write(appliesWhat(obj), func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return h.write("apply "+sub, func() error { return c.SubResource(sub).Apply(ctx, obj, opts...) })
		},
	})
	h.restart()
	return h
}

// appliesWhat names the kind where it is not one of Kubernetes' own.
func appliesWhat(obj runtime.ApplyConfiguration) string {
	if kinded, ok := obj.(interface{ GetKind() string }); ok && kinded.GetKind() == certmanager.CertificateKind {
		return "apply Certificate"
	}
	return "apply"
}

// restart is what a crash leaves: nothing in memory.
func (h *fixture) restart() {
	if h.stop != nil {
		h.stop()
	}
	now := h.clock
	ctx, stop := context.WithCancel(h.t.Context())
	h.stop, h.told = stop, events.NewFakeRecorder(1000)
	var cached client.Reader = h.client
	if h.cache != nil {
		cached = h.cache
	}
	h.r = newReconciler(Options{ClusterDomain: "cluster.local", Now: now}, connections{
		cached: cached, direct: h.client, recorder: h.told, dial: h.probe, end: h.endSessions,
		agents:   evidence.NewAgents(ctx, now, func(types.NamespacedName) {}, h.wire.Dial),
		sessions: func(context.Context, postgres.Server) ([]postgres.Session, error) { return h.sessions, nil },
	})
}

// probe is the operator's handshake, as the test has it.
func (h *fixture) probe(ctx context.Context, target probe.Target) (probe.Served, error) {
	if h.probed != nil {
		return h.probed(ctx, target)
	}
	return h.look(ctx, target)
}

// clock is read by many goroutines, and set by the test alone.
func (h *fixture) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *fixture) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// events returns those since the last call, without their type.
func (h *fixture) events() []string {
	var out []string
	for {
		select {
		case e := <-h.told.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// reconcile runs one reconciliation that must go well, and returns the writes that it took.
func (h *fixture) reconcile() (ctrl.Result, []string) {
	h.t.Helper()
	h.writes = nil
	if !h.lags {
		h.r.writes.Forget(tlstest.Hippo) // the watch has told of everything
	}
	result, err := h.r.Reconcile(h.t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo})
	if err != nil {
		h.t.Fatalf("reconciling: %v", err)
	}
	return result, h.writes
}

func (h *fixture) secret(name string) *corev1.Secret {
	h.t.Helper()
	var secret corev1.Secret
	if err := h.client.Get(h.t.Context(), types.NamespacedName{Namespace: tlstest.Hippo.Namespace, Name: name}, &secret); err != nil {
		h.t.Fatalf("Secret %s: %v", name, err)
	}
	return &secret
}

func (h *fixture) damage(name string, how func(*corev1.Secret)) {
	h.t.Helper()
	secret := h.secret(name)
	how(secret)
	if err := h.client.Update(h.t.Context(), secret); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fixture) cluster() *v1beta1.PostgresCluster {
	h.t.Helper()
	var cluster v1beta1.PostgresCluster
	if err := h.client.Get(h.t.Context(), tlstest.Hippo, &cluster); err != nil {
		h.t.Fatal(err)
	}
	return &cluster
}

const instanceMaterial = "hippo-a-0-tls"

var materials = []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}

func TestANewClusterGetsAuthoritiesAndMaterialAndThenRest(t *testing.T) {
	h := newFixture(t)
	result, _ := h.reconcile()
	for _, name := range []string{"hippo-server-ca-g1", "hippo-client-ca-g1", "hippo-server-ca-g1-copy", "hippo-client-ca-g1-copy"} {
		secret := h.secret(name)
		if secret.Immutable == nil || !*secret.Immutable || len(secret.Finalizers) > 0 {
			t.Errorf("%s: want it immutable and held by nothing, got %+v", name, secret.ObjectMeta)
		}
	}
	for _, name := range materials {
		m := h.r.inspectByName(t, h, name)
		for _, leaf := range m.Leaves {
			if leaf.Problem != "" {
				t.Errorf("%s: %s leaf: %s", name, leaf.Domain, leaf.Problem)
			}
		}
	}
	if want := 20*24*time.Hour - 3*24*time.Hour; result.RequeueAfter < want || result.RequeueAfter > 20*24*time.Hour {
		t.Errorf("RequeueAfter = %s, want two thirds of the client leaves' 30 days less a jitter", result.RequeueAfter)
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("at rest there were writes: %v", writes)
	}
	h.restart()
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("after a restart there were writes: %v", writes)
	}
}

func (r *Reconciler) inspectByName(t *testing.T, h *fixture, name string) facts.Material {
	t.Helper()
	v, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
	if err != nil {
		t.Fatal(err)
	}
	party := v.Party(name)
	if party == nil {
		t.Fatalf("no party %s", name)
	}
	return party.Material
}

func TestAPartyIsIssuedForOnceItsAddressesAreKnown(t *testing.T) {
	h := newFixture(t)
	var primary corev1.Service
	if err := h.client.Get(t.Context(), types.NamespacedName{Namespace: tlstest.Hippo.Namespace, Name: "hippo-primary"}, &primary); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Delete(t.Context(), &primary); err != nil {
		t.Fatal(err)
	}
	_, writes := h.reconcile()
	if slices.Contains(writes, "create "+instanceMaterial) {
		t.Error("a leaf was issued that lacks the primary's address")
	}
	if !slices.Contains(writes, "create hippo-pgbouncer-tls") {
		t.Errorf("the pooler's Services are there and it has no material: %v", writes)
	}
	primary.ResourceVersion = ""
	if err := h.client.Create(t.Context(), &primary); err != nil {
		t.Fatal(err)
	}
	if _, writes := h.reconcile(); !slices.Contains(writes, "create "+instanceMaterial) {
		t.Errorf("the address is known and there is no material: %v", writes)
	}
}

// TestAPartyDoesNotWaitForAServiceThatCannotBeMade: PostgreSQL starts without it, and its certificate gets the address later.
func TestAPartyDoesNotWaitForAServiceThatCannotBeMade(t *testing.T) {
	h := newFixture(t)
	var primary corev1.Service
	if err := h.client.Get(t.Context(), types.NamespacedName{Namespace: tlstest.Hippo.Namespace, Name: "hippo-primary"}, &primary); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Delete(t.Context(), &primary); err != nil {
		t.Fatal(err)
	}
	result, writes := h.reconcile()
	if slices.Contains(writes, "create "+instanceMaterial) || result.RequeueAfter <= 10*time.Second {
		t.Fatalf("the cluster controller has not come to the Services, and it looks again after %s: %v", result.RequeueAfter, writes)
	}
	if told := h.events(); h.cluster().Status.TLS != nil || len(told) > 0 {
		t.Errorf("a wait for Services that are about to come is reported: %v, %v", h.cluster().Status.TLS, told)
	}
	h.pass(result.RequeueAfter)
	if err := h.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: desired.ConfigName(tlstest.Hippo.Name)}}); err != nil {
		t.Fatal(err)
	}
	result, writes = h.reconcile()
	if slices.Contains(writes, "create "+instanceMaterial) || result.RequeueAfter <= 0 || result.RequeueAfter > 10*time.Second {
		t.Fatalf("it looks again after %s: %v", result.RequeueAfter, writes)
	}
	h.pass(result.RequeueAfter)
	if _, writes := h.reconcile(); !slices.Contains(writes, "create "+instanceMaterial) {
		t.Fatalf("there is no material: %v", writes)
	}
	if told := h.events(); h.cluster().Status.TLS == nil || len(told) != 1 {
		t.Errorf("after the wait %v is reported, and %v", h.cluster().Status.TLS, told)
	}
	primary.ResourceVersion = ""
	if err := h.client.Create(t.Context(), &primary); err != nil {
		t.Fatal(err)
	}
	if _, writes := h.reconcile(); !slices.Contains(writes, "update "+instanceMaterial) {
		t.Errorf("the address is known and the certificate lacks it: %v", writes)
	}
}

func TestMaterialThatIsDamagedIsRepairedAndNothingElse(t *testing.T) {
	other := func(h *fixture) *corev1.Secret { return h.secret("hippo-a-1-tls") }
	cases := map[string]struct {
		how  func(h *fixture, s *corev1.Secret)
		kept string // key that must come through as it was
	}{
		"blanked": {how: func(_ *fixture, s *corev1.Secret) { s.Data = nil }},
		"garbled server leaf": {kept: agentapi.ClientCertificate,
			how: func(_ *fixture, s *corev1.Secret) { s.Data[agentapi.ServerCertificate] = []byte("nonsense") }},
		"key of another": {kept: agentapi.ServerCertificate,
			how: func(h *fixture, s *corev1.Secret) { s.Data[agentapi.ClientKey] = other(h).Data[agentapi.ClientKey] }},
		"bundle cut off": {kept: agentapi.ServerCertificate,
			how: func(_ *fixture, s *corev1.Secret) {
				s.Data[agentapi.ServerBundle] = s.Data[agentapi.ServerBundle][:100]
			}},
		"something added": {kept: agentapi.ServerCertificate,
			how: func(_ *fixture, s *corev1.Secret) { s.Data["readme.txt"] = []byte("hello") }},
		"labels taken away": {kept: agentapi.ServerCertificate,
			how: func(_ *fixture, s *corev1.Secret) {
				s.Labels = nil
				s.Data[agentapi.ServerBundle] = nil
			}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			h.reconcile()
			before := h.secret(instanceMaterial)
			untouched := other(h).ResourceVersion
			h.damage(instanceMaterial, func(s *corev1.Secret) { c.how(h, s) })
			h.reconcile()
			after := h.secret(instanceMaterial)
			if m := h.r.inspectByName(t, h, instanceMaterial); m.Altered || m.Anchors.Server == nil || m.Anchors.Client == nil || m.Leaves[0].Problem+m.Leaves[1].Problem != "" {
				t.Errorf("after repair: %+v", m)
			}
			if c.kept != "" && !cmp.Equal(before.Data[c.kept], after.Data[c.kept]) {
				t.Errorf("%s was sound and was issued anew", c.kept)
			}
			if other(h).ResourceVersion != untouched {
				t.Error("another party's material was written")
			}
			if _, writes := h.reconcile(); len(writes) > 0 {
				t.Errorf("after repair there were writes: %v", writes)
			}
		})
	}
}

func TestARenewalIsAskedForOncePerValue(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	serial := func() string { return h.r.inspectByName(t, h, instanceMaterial).Leaves[0].Serial }
	ask := func(value string) {
		cluster := h.cluster()
		cluster.Annotations = map[string]string{material.RenewRequestAnnotation: value}
		if err := h.client.Update(t.Context(), cluster); err != nil {
			t.Fatal(err)
		}
		h.reconcile()
	}
	first := serial()
	ask("monday")
	second := serial()
	if first == second {
		t.Error("asked, and not renewed")
	}
	if _, writes := h.reconcile(); len(writes) > 0 || serial() != second {
		t.Errorf("asked once, and written again: %v", writes)
	}
	ask("tuesday")
	if serial() == second {
		t.Error("asked with a new value, and not renewed")
	}
}

func TestALeafIsRenewedAtItsTime(t *testing.T) {
	h := newFixture(t)
	result, _ := h.reconcile()
	h.pass(result.RequeueAfter - time.Second)
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("a second early there were writes: %v", writes)
	}
	h.pass(2 * time.Second)
	_, writes := h.reconcile()
	if len(writes) == 0 || !strings.HasPrefix(writes[0], "update hippo-") {
		t.Errorf("when due, the writes were %v, want the update of a material", writes)
	}
}

func TestASecretOfAnotherOwnerIsLeftAloneAndTheRestGoesOn(t *testing.T) {
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: instanceMaterial},
		Data: map[string][]byte{"precious": []byte("yes")}}
	h := newFixture(t, foreign)
	h.reconcile()
	if got := h.secret(instanceMaterial).Data; !cmp.Equal(got, foreign.Data) {
		t.Errorf("the foreign Secret was overwritten: %v", got)
	}
	h.secret("hippo-a-1-tls") // was made all the same
	condition := h.cluster().Status.Conditions[0]
	if condition.Status != metav1.ConditionFalse || condition.Reason != string(reason.ForeignSecret) || !strings.Contains(condition.Message, instanceMaterial) {
		t.Errorf("condition = %+v, want it to name the Secret", condition)
	}
}

func TestADeletedAuthorityIsRestoredWithTheSameKey(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	before := h.secret("hippo-server-ca-g1")
	if err := h.client.Delete(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	h.reconcile()
	after := h.secret("hippo-server-ca-g1")
	if !after.DeletionTimestamp.IsZero() || !cmp.Equal(before.Data, after.Data) {
		t.Error("the authority did not come back as it was")
	}
}

func TestAnAuthorityThatIsLostIsNeverMadeASecondTime(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	h.lose("hippo-server-ca-g1")
	_, writes := h.reconcile()
	if slices.Contains(writes, "create hippo-server-ca-g1") || !slices.Contains(writes, "create hippo-server-ca-g2") {
		t.Errorf("wrote %q: the next generation is to take the place of the lost one", writes)
	}
	for _, name := range []string{"hippo-operator-tls", "hippo-a-0-tls", "hippo-pgbouncer-tls"} {
		anchors, err := pki.ParseBundle(h.secret(name).Data[agentapi.ServerBundle])
		if err != nil || len(anchors) != 1 || anchors[0].Subject.CommonName != "hippo server ca g2" {
			t.Errorf("%s trusts %d anchors (%v), and in the end only the new one is to be trusted", name, len(anchors), err)
		}
	}
}

func TestPublicTrustFollowsTheAuthority(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	var config corev1.ConfigMap
	key := types.NamespacedName{Namespace: tlstest.Hippo.Namespace, Name: desired.CAConfigMap(tlstest.Hippo.Name)}
	if err := h.client.Get(t.Context(), key, &config); err != nil {
		t.Fatal(err)
	}
	want := string(h.secret("hippo-server-ca-g1").Data[material.AuthorityCertificate])
	if config.Data["ca.crt"] != want {
		t.Errorf("ca.crt = %q, want the server authority", config.Data["ca.crt"])
	}
	config.Data["ca.crt"] = "nonsense"
	if err := h.client.Update(t.Context(), &config); err != nil {
		t.Fatal(err)
	}
	h.reconcile()
	if err := h.client.Get(t.Context(), key, &config); err != nil || config.Data["ca.crt"] != want {
		t.Errorf("ca.crt = %q, %v; want it repaired", config.Data["ca.crt"], err)
	}
}

func TestMaterialOfAnInstanceThatIsGoneIsDiscarded(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	const material = "hippo-a-1-tls"
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: "hippo-a-1"}}
	if err := h.client.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	cluster := h.cluster()
	cluster.Spec.Instances[0].Replicas = ptr.To[int32](1)
	if err := h.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	h.reconcile()
	h.secret(material) // its StatefulSet is still there
	if err := h.client.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	h.reconcile()
	var gone corev1.Secret
	key := types.NamespacedName{Namespace: tlstest.Hippo.Namespace, Name: material}
	if err := h.client.Get(t.Context(), key, &gone); !apierrors.IsNotFound(err) {
		t.Errorf("the key of an instance that is gone is still stored: %v", err)
	}
	h.secret(instanceMaterial)
}
