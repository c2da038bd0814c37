package tls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/probe"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	m.Run()
}

// simPod is a pod with its agent, which does what it is asked when the test says so.
type simPod struct {
	h     *fixture
	name  string
	party string
	agent *agenttest.Agent
	mute  error // every handshake with it fails with this
	stuck bool  // PostgreSQL goes on serving what it serves
	facts pki.CertificateFacts
	// process is what PostgreSQL or PgBouncer serves: facts, or a custom certificate.
	process *pki.KeyPair

	clients []*x509.Certificate // anchors that PostgreSQL verifies clients with
	lenient bool                // PostgreSQL lets in every client

	lists     []*x509.RevocationList // that PostgreSQL has loaded
	keepLists bool                   // it goes on with those that it has, and says so in its log alone
}

// aPod makes a running pod whose agent has installed what is published.
func (h *fixture) aPod(name, party, component, role string) *simPod {
	h.t.Helper()
	address := fmt.Sprintf("10.0.0.%d", len(h.pods)+1)
	beside := desired.DatabaseContainer
	if component == desired.PoolerComponent {
		beside = desired.PoolerContainer
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: tlstest.Hippo.Namespace, Name: name, UID: types.UID(name + "-uid"),
			Labels: map[string]string{
				desired.ClusterLabel: tlstest.Hippo.Name, desired.ComponentLabel: component,
				desired.InstanceLabel: strings.TrimSuffix(party, "-tls"), desired.RoleLabel: role,
			},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: address,
			InitContainerStatuses: []corev1.ContainerStatus{{Name: desired.AgentContainer, Started: ptr.To(true)}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: beside, Ready: true,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
	if err := h.client.Create(h.t.Context(), pod); err != nil {
		h.t.Fatal(err)
	}
	p := &simPod{h: h, name: name, party: party}
	p.agent = agenttest.NewAgent(name, h.clock, h.secret(party).Data)
	p.install()
	h.pods[address] = p
	p.agent.Serve(h.t, h.wire, net.JoinHostPort(address, strconv.Itoa(agentapi.AgentPort)))
	return p
}

// install is what the agent does: take what is published, and report.
func (p *simPod) install() {
	data := p.h.secret(p.party).Data
	p.agent.Use(data)
	pairIn := func(certificate, key string) *pki.KeyPair {
		pair, err := pki.ParseKeyPair(data[certificate], data[key])
		if err != nil {
			p.h.t.Fatal(err)
		}
		return pair
	}
	if !p.stuck {
		p.facts = pki.Facts(p.agent.Pair().Leaf())
		p.process = pairIn(agentapi.ServedCertificate, agentapi.ServedKey)
	}
	servers, err := pki.ParseBundle(data[agentapi.ServerBundle])
	if err != nil {
		p.h.t.Fatal(err)
	}
	anchors, err := pki.ParseBundle(data[agentapi.ClientBundle])
	if err != nil {
		p.h.t.Fatal(err)
	}
	p.clients = anchors
	var numbers map[string]int64
	if lists, err := pki.ParseRevocationLists(data[agentapi.RevocationLists]); err == nil {
		numbers = pki.RevocationListNumbers(lists)
		if !p.keepLists {
			p.lists = lists
		}
	}
	client := pairIn(agentapi.ClientCertificate, agentapi.ClientKey)
	leafOf := func(pair *pki.KeyPair) *agentapi.Leaf {
		details := pki.Facts(pair.Leaf())
		return &agentapi.Leaf{Serial: details.Serial, NotAfter: details.NotAfter}
	}
	server := leafOf(p.agent.Pair())
	p.agent.Say(func(r *agentapi.Report) {
		r.Mounted, r.Active, r.Problem = pki.Revision(data), pki.Revision(data), nil
		r.RevocationLists = numbers
		r.ServerLeaf, r.ClientLeaf = server, leafOf(client)
		r.ServedLeaf, r.PresentedLeaf = leafOf(pairIn(agentapi.ServedCertificate, agentapi.ServedKey)), leafOf(pairIn(agentapi.PresentedCertificate, agentapi.PresentedKey))
		r.ServerAnchors, r.ClientAnchors = material.Fingerprints(servers), material.Fingerprints(anchors)
	})
}

func (p *simPod) object() *corev1.Pod {
	p.h.t.Helper()
	var pod corev1.Pod
	if err := p.h.client.Get(p.h.t.Context(), types.NamespacedName{Namespace: tlstest.Hippo.Namespace, Name: p.name}, &pod); err != nil {
		p.h.t.Fatal(err)
	}
	return &pod
}

func (p *simPod) change(how func(*corev1.Pod)) {
	p.h.t.Helper()
	pod := p.object()
	how(pod)
	status := pod.Status
	if err := p.h.client.Update(p.h.t.Context(), pod); err != nil {
		p.h.t.Fatal(err)
	}
	pod.Status = status
	if err := p.h.client.Status().Update(p.h.t.Context(), pod); err != nil {
		p.h.t.Fatal(err)
	}
}

// asked reports whether the pod is asked for something that it does not use.
func (p *simPod) asked() bool {
	asked := p.object().Annotations[material.ActivateAnnotation]
	return asked != "" && asked != p.agent.Report().Active
}

// look is the operator's handshake: what a pod serves, verified as package probe does.
func (h *fixture) look(_ context.Context, target probe.Target) (probe.Served, error) {
	host, _, err := net.SplitHostPort(target.Address)
	if err != nil {
		return probe.Served{}, err
	}
	p := h.pods[host]
	if p == nil {
		return probe.Served{}, agenttest.ErrNobodyListens
	}
	if p.mute != nil {
		return probe.Served{}, p.mute
	}
	details := p.facts
	if target.Protocol != probe.HTTPS {
		details = pki.Facts(p.process.Leaf())
	}
	if certificate := target.ClientCertificate; certificate != nil && !h.accepts(p, certificate.Leaf) {
		return probe.Served{Leaf: details}, &probe.Error{Reason: probe.ClientRefused, Address: target.Address, Err: errors.New("unknown certificate authority")}
	}
	return probe.Served{Leaf: details}, nil
}

// accepts reports whether a pod has loaded the authority of a client's leaf.
func (h *fixture) accepts(p *simPod, leaf *x509.Certificate) bool {
	revoked := slices.ContainsFunc(p.lists, func(list *x509.RevocationList) bool {
		return slices.ContainsFunc(list.RevokedCertificateEntries, func(entry x509.RevocationListEntry) bool { return entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 })
	})
	return p.lenient || !revoked && slices.ContainsFunc(p.clients, func(anchor *x509.Certificate) bool { return leaf.CheckSignatureFrom(anchor) == nil })
}

// countingDial counts handshakes.
func countingDial(n *int, dial func(context.Context, probe.Target) (probe.Served, error)) func(context.Context, probe.Target) (probe.Served, error) {
	var mu sync.Mutex
	return func(ctx context.Context, target probe.Target) (probe.Served, error) {
		mu.Lock()
		*n++
		mu.Unlock()
		return dial(ctx, target)
	}
}

// hippos are a primary, two replicas and two poolers, all at rest.
func hippos(t *testing.T) (*fixture, map[string]*simPod) {
	t.Helper()
	h := newFixture(t)
	cluster := h.cluster()
	cluster.Spec.Instances[0].Replicas, cluster.Spec.Proxy.PGBouncer.Replicas = ptr.To(int32(3)), ptr.To(int32(2))
	if err := h.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	h.reconcile()
	pods := map[string]*simPod{}
	for _, p := range []*simPod{
		h.aPod("hippo-a-0-0", "hippo-a-0-tls", desired.InstanceComponent, "primary"),
		h.aPod("hippo-a-1-0", "hippo-a-1-tls", desired.InstanceComponent, "replica"),
		h.aPod("hippo-a-2-0", "hippo-a-2-tls", desired.InstanceComponent, "replica"),
		h.aPod("hippo-pgbouncer-x", "hippo-pgbouncer-tls", desired.PoolerComponent, ""),
		h.aPod("hippo-pgbouncer-y", "hippo-pgbouncer-tls", desired.PoolerComponent, ""),
	} {
		pods[p.name] = p
	}
	h.quiet()
	return h, pods
}

// quiet reconciles until there is nothing to write, and forgets the events.
func (h *fixture) quiet() {
	h.t.Helper()
	for range 10 {
		synctest.Wait() // for what the agents report
		if _, writes := h.reconcile(); len(writes) == 0 {
			h.events()
			return
		}
	}
	h.t.Fatalf("did not converge: %v", h.writes)
}

// podActions reconciles once, after all that the agents said has been heard, and
// returns the pods that are asked for what they do not use.
func (h *fixture) podActions(pods map[string]*simPod) []string {
	h.t.Helper()
	synctest.Wait()
	h.reconcile()
	var asked []string
	for _, name := range tlstest.SortedKeys(pods) {
		if pods[name].asked() {
			asked = append(asked, name)
		}
	}
	return asked
}

func (h *fixture) request(value string) {
	h.t.Helper()
	cluster := h.cluster()
	metav1.SetMetaDataAnnotation(&cluster.ObjectMeta, material.RenewRequestAnnotation, value)
	if err := h.client.Update(h.t.Context(), cluster); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fixture) delete(object client.Object) {
	h.t.Helper()
	if err := h.client.Delete(h.t.Context(), object); err != nil {
		h.t.Fatal(err)
	}
}

// bubble runs a test in a bubble of synctest, and fails when it leaves a goroutine behind.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	t.Parallel() // each has a fixture of its own, and with the race detector they take minutes
	synctest.Test(t, func(t *testing.T) {
		// Runs last: on a pipe a farewell without a reader takes its time.
		t.Cleanup(func() { time.Sleep(time.Minute) })
		test(t)
	})
}

func (h *fixture) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: tlstest.Hippo.Namespace, Name: name}
}
