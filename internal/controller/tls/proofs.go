package tls

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation"
)

const (
	proofTimeout  = 3 * time.Second
	proofPauseMin = time.Second      // before a failed handshake is tried again
	proofPauseMax = 30 * time.Second // at most
)

// endpoint is a port of a pod that serves TLS.
type endpoint struct {
	name     string // postgres, pgbouncer, patroni, agent
	port     int32
	protocol probe.Protocol
	user     string // to log in as, where a client certificate is to be accepted
}

// process reports whether the process beside the agent serves an endpoint: it may present a custom certificate.
func (e endpoint) process() bool { return e.protocol != probe.HTTPS }

// endpointsOf are the ports of a pod that are to be proven now. PostgreSQL and
// PgBouncer count once they are ready: until then they serve nothing, and they
// start with what is installed.
func endpointsOf(cluster *v1beta1.PostgresCluster, pod *corev1.Pod) []endpoint {
	agent := endpoint{name: "agent", port: agentapi.AgentPort, protocol: probe.HTTPS}
	if pod.Labels[desired.ComponentLabel] == desired.PoolerComponent {
		endpoints := []endpoint{agent}
		if pooler := desired.Pooler(cluster); pooler != nil && containerReady(pod, desired.PoolerContainer) {
			endpoints = append(endpoints, endpoint{name: "pgbouncer", port: desired.PoolerPort(pooler), protocol: probe.PGBouncer})
		}
		return endpoints
	}
	endpoints := []endpoint{agent, {name: "patroni", port: agentapi.PatroniPort, protocol: probe.HTTPS}}
	if containerReady(pod, desired.DatabaseContainer) {
		endpoints = append(endpoints, endpoint{
			name: "postgres", port: agentapi.PostgresPort, protocol: probe.Postgres, user: agentapi.OperatorIdentity,
		})
	}
	return endpoints
}

// serverName is the name under which the operator verifies a pod.
func serverName(cluster *v1beta1.PostgresCluster, pod *corev1.Pod) string {
	if pod.Labels[desired.ComponentLabel] == desired.PoolerComponent {
		return desired.ServiceHost(desired.PoolerName(cluster.Name), cluster.Namespace)
	}
	return desired.PodHost(cluster, pod.Name)
}

// proof is the last handshake with an endpoint.
type proof struct {
	facts    pki.CertificateFacts
	revision string    // that the agent reported as active
	problem  string    // "" when the handshake went well
	at       time.Time // of this handshake
	since    time.Time // first handshake that saw this leaf
	failures int       // in a row: no handshake, or another leaf than the published one
}

type proofKey struct {
	uid  types.UID
	port string
}

// proofs remembers the operator's own handshakes. They are evidence of an
// instant: after a restart everything is proven again.
type proofs struct {
	dial func(context.Context, probe.Target) (probe.Served, error)

	mu      sync.Mutex
	seen    map[proofKey]proof
	cluster map[types.UID]types.NamespacedName // cluster of a pod
}

func newProofs() *proofs {
	return &proofs{dial: probe.Dial, seen: map[proofKey]proof{}, cluster: map[types.UID]types.NamespacedName{}}
}

// of returns the proofs of a pod as facts. One that did not show the published
// leaf is forgotten after a pause, so that it is tried again.
func (p *proofs) of(uid types.UID, endpoints []endpoint, now time.Time) []rotation.Proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]rotation.Proof, 0, len(endpoints))
	for _, e := range endpoints {
		last, ok := p.seen[proofKey{uid, e.name}]
		fact := rotation.Proof{Port: e.name, Process: e.process()}
		if ok && (last.failures == 0 || now.Before(last.at.Add(last.pause()))) {
			fact = rotation.Proof{Port: e.name, Process: e.process(), Fingerprint: last.facts.Fingerprint, Revision: last.revision, Problem: last.problem}
		}
		out = append(out, fact)
	}
	return out
}

func (p proof) pause() time.Duration {
	return min(proofPauseMin<<min(max(p.failures-1, 0), 5), proofPauseMax)
}

// last returns what is known of an endpoint, for the status.
func (p *proofs) last(uid types.UID, port string) (proof, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.seen[proofKey{uid, port}]
	return last, ok
}

// saw reports whether some port of a pod was seen to serve while its agent reported a revision.
func (p *proofs) saw(uid types.UID, revision string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, last := range p.seen {
		if key.uid == uid && last.revision == revision && last.problem == "" {
			return true
		}
	}
	return false
}

// keepOnly forgets a cluster's pods that are gone.
func (p *proofs) keepOnly(cluster types.NamespacedName, keys map[agentKey]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := map[types.UID]bool{}
	for key := range keys {
		kept[key.uid] = true
	}
	for uid, of := range p.cluster {
		if of != cluster || kept[uid] {
			continue
		}
		delete(p.cluster, uid)
		for key := range p.seen {
			if key.uid == uid {
				delete(p.seen, key)
			}
		}
	}
}

// proofRequest asks for handshakes with all endpoints of a pod.
type proofRequest struct {
	pod        *corev1.Pod
	cluster    types.NamespacedName
	serverName string
	endpoints  []endpoint
	identity   *identity
	revision   string
	party      *rotation.Party // whose leaves are to be served
	now        time.Time
}

// prove handshakes with all endpoints at once and remembers what they served.
// It returns the serial that the process served, "" unless all of them served what they should.
func (p *proofs) prove(ctx context.Context, request proofRequest) string {
	if request.identity == nil {
		return ""
	}
	results := make([]proof, len(request.endpoints))
	var wait sync.WaitGroup
	for i, e := range request.endpoints {
		wait.Go(func() { results[i] = p.handshake(ctx, request, e) })
	}
	wait.Wait()
	return p.remember(request, results)
}

func (p *proofs) remember(request proofRequest, results []proof) (serial string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cluster[request.pod.UID] = request.cluster
	proven := true
	for i, e := range request.endpoints {
		key := proofKey{request.pod.UID, e.name}
		result, before := results[i], p.seen[key]
		result.since = result.at
		if before.facts.Fingerprint == result.facts.Fingerprint && !before.since.IsZero() {
			result.since = before.since
		}
		if result.problem != "" || result.facts.Fingerprint != published(request.party, e) {
			result.failures = before.failures + 1
		}
		p.seen[key] = result
		proven = proven && result.failures == 0
		if serial == "" || e.process() {
			serial = result.facts.Serial
		}
	}
	if !proven {
		return ""
	}
	return serial
}

func (p *proofs) handshake(ctx context.Context, request proofRequest, e endpoint) proof {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	target := probe.Target{
		Address:    net.JoinHostPort(request.pod.Status.PodIP, strconv.Itoa(int(e.port))),
		ServerName: nameToVerify(request.serverName, e), Protocol: e.protocol,
		Anchors: request.identity.anchors, At: request.now, Foreign: e.process(),
	}
	if e.user != "" {
		target.ClientCertificate = &request.identity.certificate
		target.User, target.Database = e.user, "postgres"
	}
	served, err := p.dial(ctx, target)
	result := proof{facts: served.Leaf, revision: request.revision, at: request.now}
	if err != nil {
		result.problem, result.facts = inWords(err), pki.CertificateFacts{}
	}
	return result
}

// nameToVerify is none where a custom certificate may be served: it names Services, or what users call them, and no pods. Which
// certificate it is, and not only whose, is compared afterwards.
func nameToVerify(serverName string, e endpoint) string {
	if e.process() {
		return ""
	}
	return serverName
}

// inWords leaves out the operator's own port, which is another each time: what
// is the same must read the same, or each attempt would be a write of the status.
func inWords(err error) string {
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Source != nil {
		text = strings.ReplaceAll(text, op.Source.String()+"->", "")
	}
	return text
}
