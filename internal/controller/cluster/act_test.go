package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/ha"
	"pgtls.dev/pgtls/internal/controller/cluster/sql"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/patroni"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// zoo is what a cluster runs, as far as the operator sees it, and what the operator told it to do.
type zoo struct {
	states map[string]decide.State // by pod
	config map[string]any
	failed error // what every request to Patroni comes to
	rows   func(sql string) [][]string
	done   []string
	dialed []string
}

func (z *zoo) Patroni(url string, config *tls.Config) ha.API {
	return &fakeAPI{zoo: z, pod: strings.SplitN(strings.TrimPrefix(url, "https://"), ".", 2)[0], config: config}
}

func (z *zoo) Database(_ context.Context, host, name string, config *tls.Config) (sql.Database, error) {
	z.dialed = append(z.dialed, host+"/"+name)
	if z.rows == nil {
		return nil, errors.New("connection refused")
	}
	if len(config.Certificates) != 1 || config.RootCAs == nil || config.InsecureSkipVerify {
		return nil, errors.New("not verify-full with a certificate")
	}
	return z, nil
}

func (z *zoo) Query(_ context.Context, sql string, _ ...string) ([][]string, error) {
	if strings.Contains(sql, "pg_auth_members") {
		return nil, nil
	}
	if strings.HasPrefix(sql, "SELECT") {
		return z.rows(sql), nil
	}
	z.done = append(z.done, sql)
	return nil, nil
}

func (*zoo) Close(context.Context) {}

type fakeAPI struct {
	zoo    *zoo
	pod    string
	config *tls.Config
}

func (a *fakeAPI) Members(context.Context) (map[string]decide.State, error) {
	return a.zoo.states, a.zoo.failed
}
func (a *fakeAPI) Config(context.Context) (map[string]any, error) { return a.zoo.config, a.zoo.failed }
func (a *fakeAPI) PatchConfig(_ context.Context, patch map[string]any) (bool, error) {
	a.zoo.done = append(a.zoo.done, "configure")
	a.zoo.config = patch
	return true, nil
}
func (a *fakeAPI) Switchover(_ context.Context, leader, candidate string) error {
	a.zoo.done = append(a.zoo.done, "switchover "+leader+" "+candidate)
	return nil
}
func (a *fakeAPI) Restart(context.Context) error {
	a.zoo.done = append(a.zoo.done, "restart "+a.pod)
	return nil
}

// operatorMaterial is a pair and a bundle that can be read; no test of this package verifies the signature.
func operatorMaterial() *corev1.Secret {
	operator := pkitest.CA(agentapi.OperatorIdentity)
	secret := material("hippo-operator")
	secret.Data = map[string][]byte{
		agentapi.ClientCertificate: operator.PEM(),
		agentapi.ClientKey:         operator.KeyPEM(),
		agentapi.ServerBundle:      operator.PEM(),
	}
	return secret
}

// running is a world with a cluster of two in which all is well: hippo-00-0 leads.
func running(t *testing.T, change func(*v1beta1.PostgresCluster), extra ...client.Object) (*world, *zoo) {
	t.Helper()
	z := &zoo{states: map[string]decide.State{"hippo-00-0-0": {Leader: true}, "hippo-00-1-0": {Streaming: true}}}
	config, err := desired.DynamicConfiguration(hippo())
	if err != nil {
		t.Fatal(err)
	}
	z.config = config
	objects := append([]client.Object{
		hippo(change), operatorMaterial(), material("hippo-00-0"), material("hippo-00-1"),
		pod("hippo-00-0", ready, inRole("primary"), atRevision("new")), pod("hippo-00-1", ready, inRole("replica"), atRevision("new")),
		statefulSet("hippo-00-0"), statefulSet("hippo-00-1"),
	}, extra...)
	w := newWorld(t, objects...)
	w.connect = z
	return w, z
}

func asItIs(*v1beta1.PostgresCluster) {}

func atRevision(revision string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[appsv1.ControllerRevisionHashLabelKey] = revision }
}

// statefulSet as Kubernetes has it once it looked at it.
func statefulSet(instance string) *appsv1.StatefulSet {
	labels := desired.ComponentLabels("hippo", desired.InstanceComponent)
	labels[desired.InstanceSetLabel], labels[desired.InstanceLabel] = "00", instance
	return &appsv1.StatefulSet{
		ObjectMeta: desired.Meta(hippo(), instance, labels),
		Status:     appsv1.StatefulSetStatus{UpdateRevision: "new"},
	}
}

func (w *world) outdate(instance string) {
	w.t.Helper()
	p := &corev1.Pod{}
	w.exists(p, desired.PodName(instance))
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = "old"
	if err := w.client.Update(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
}

func TestAWellClusterIsLeftAlone(t *testing.T) {
	w, z := running(t, asItIs)
	w.round()
	w.round()
	if writes := w.round(); len(writes) != 0 || len(z.done) != 0 {
		t.Errorf("wrote %v, did %v", writes, z.done)
	}
}

func TestReplicasAreReplacedFirstOneInARound(t *testing.T) {
	w, z := running(t, asItIs)
	w.outdate("hippo-00-0")
	w.outdate("hippo-00-1")
	w.round()
	if w.exists(&corev1.Pod{}, "hippo-00-1-0") || !w.exists(&corev1.Pod{}, "hippo-00-0-0") {
		t.Error("not the replica's pod was deleted")
	}
	if reason, _ := w.progressing(); reason != string(decide.ReplacingInstance) || len(z.done) != 0 {
		t.Errorf("reason %s, did %v", reason, z.done)
	}
	w.round()
	if !w.exists(&corev1.Pod{}, "hippo-00-0-0") {
		t.Error("the primary went while the replica was away")
	}
}

func TestThePrimaryHandsOverBeforeItIsReplaced(t *testing.T) {
	w, z := running(t, asItIs)
	w.outdate("hippo-00-0")
	w.round()
	if !slices.Equal(z.done, []string{"switchover hippo-00-0-0 hippo-00-1-0"}) || !w.exists(&corev1.Pod{}, "hippo-00-0-0") {
		t.Fatalf("did %v", z.done)
	}
	z.states = map[string]decide.State{"hippo-00-0-0": {Streaming: true}, "hippo-00-1-0": {Leader: true}}
	w.round()
	if w.exists(&corev1.Pod{}, "hippo-00-0-0") {
		t.Error("the former primary was not replaced")
	}
}

func TestNothingGoesWhilePatroniIsSilent(t *testing.T) {
	w, z := running(t, asItIs)
	w.outdate("hippo-00-1")
	z.failed = errors.New("no route")
	w.round()
	if !w.exists(&corev1.Pod{}, "hippo-00-1-0") {
		t.Error("a pod went without knowing whether the others are well")
	}
	if reason, message := w.progressing(); reason != string(decide.AwaitingPatroni) || !strings.Contains(message, "no route") {
		t.Errorf("%s %q", reason, message)
	}
}

func TestAnInstanceThatIsWantedNoMoreGoesWithItsVolume(t *testing.T) {
	w, z := running(t, asItIs)
	w.round()
	cluster := &v1beta1.PostgresCluster{}
	w.exists(cluster, "hippo")
	cluster.Spec.Instances[0].Replicas = ptr.To[int32](1)
	if err := w.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	z.states = map[string]decide.State{"hippo-00-0-0": {Streaming: true}, "hippo-00-1-0": {Leader: true}}
	w.round()
	if !slices.Equal(z.done, []string{"switchover hippo-00-1-0 hippo-00-0-0"}) || !w.exists(&appsv1.StatefulSet{}, "hippo-00-1") {
		t.Fatalf("the primary did not hand over first: %v", z.done)
	}
	z.states = map[string]decide.State{"hippo-00-0-0": {Leader: true}, "hippo-00-1-0": {Streaming: true}}
	w.round()
	if w.exists(&appsv1.StatefulSet{}, "hippo-00-1") {
		t.Fatal("the StatefulSet is still there")
	}
	w.round()
	if w.exists(&corev1.PersistentVolumeClaim{}, "hippo-00-1-pgdata") || !w.exists(&corev1.PersistentVolumeClaim{}, "hippo-00-0-pgdata") {
		t.Error("not the volume of the instance that went is gone")
	}
}

func TestTheDynamicConfigurationIsPatchedOnceAndRestartsFollow(t *testing.T) {
	w, z := running(t, dynamic(`{"postgresql":{"parameters":{"max_connections":77}}}`))
	w.round()
	w.round()
	if !slices.Equal(z.done, []string{"configure"}) {
		t.Fatalf("did %v", z.done)
	}
	z.done = nil
	z.states = map[string]decide.State{"hippo-00-0-0": {Leader: true, PendingRestart: true}, "hippo-00-1-0": {Streaming: true, PendingRestart: true}}
	for range 4 {
		w.round() // the replica keeps asking, for the primary has to have the smaller value first
	}
	if want := []string{"restart hippo-00-1-0", "restart hippo-00-0-0", "restart hippo-00-1-0"}; !slices.Equal(z.done, want) {
		t.Errorf("did %v, want %v", z.done, want)
	}
}

func TestPatronisRefusalIsOneLine(t *testing.T) {
	refusal := fmt.Errorf("reading: %w", &patroni.StatusError{Status: http.StatusBadGateway, Body: "<html>\n<body>"})
	if got := awaitPatroni(hippo(), refusal); got.Message != "Patroni answers 502 Bad Gateway" || got.Again == 0 {
		t.Errorf("got %+v", got)
	}
}

func TestUsersAreMadeOnThePrimaryAndThenLeftAlone(t *testing.T) {
	w, z := running(t, asItIs)
	verifier := ""
	z.rows = func(sql string) [][]string {
		if strings.Contains(sql, "pg_database") {
			return [][]string{{"postgres", "postgres"}, {"hippo", "hippo"}}[:1+min(len(verifier), 1)]
		}
		return [][]string{{"hippo", verifier, "f", "t", "f", "f", "t", "f", "f"}}
	}
	w.round()
	if len(z.done) != 2 || !strings.HasPrefix(z.done[0], `ALTER ROLE "hippo" LOGIN PASSWORD`) || z.done[1] != `CREATE DATABASE "hippo" OWNER "hippo"` {
		t.Fatalf("did %v", z.done)
	}
	if diff := cmp.Diff([]string{"hippo-primary.zoo.svc/postgres"}, z.dialed); diff != "" {
		t.Error(diff)
	}
	secret := &corev1.Secret{}
	w.exists(secret, "hippo-pguser-hippo")
	verifier, z.done = string(secret.Data["verifier"]), nil
	w.round()
	if len(z.done) != 0 {
		t.Errorf("at rest: %v", z.done)
	}
}

func TestWithoutTheOperatorsMaterialNoPodIsAsked(t *testing.T) {
	for name, change := range map[string]func(*corev1.Secret){
		"a garbled pair": func(s *corev1.Secret) { s.Data[agentapi.ClientKey] = []byte("garbage") },
		"no bundle":      func(s *corev1.Secret) { s.Data[agentapi.ServerBundle] = nil },
		"nothing at all": func(s *corev1.Secret) { s.Data = nil },
		"another controller's": func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Other", Name: "x", UID: "x", Controller: ptr.To(true)}}
		},
		"not labelled": func(s *corev1.Secret) { s.OwnerReferences, s.Labels = nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			w, z := running(t, asItIs)
			secret := operatorMaterial()
			change(secret)
			if err := w.client.Update(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			w.round()
			if len(z.dialed) != 0 {
				t.Errorf("dialed %v", z.dialed)
			}
			if reason, message := w.progressing(); reason != string(decide.AwaitingMaterial) || !strings.Contains(message, "hippo-operator-tls") {
				t.Errorf("%s %q", reason, message)
			}
		})
	}
}
