package evidence

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

const (
	proofTimeout  = 3 * time.Second
	proofPauseMin = time.Second      // before a failed handshake is tried again
	proofPauseMax = 30 * time.Second // at most

	// A handshake is evidence of an instant. One that went well is made again at the first look after proofFresh, and there is a
	// look after proofAge at the latest, less a part that differs from cluster to cluster.
	proofFresh  = 10 * time.Minute
	proofAge    = 15 * time.Minute
	proofSpread = 3 * time.Minute
)

// Endpoint is a port of a pod that serves TLS.
type Endpoint struct {
	Name     string // postgres, pgbouncer, patroni, agent
	Port     int32
	Protocol probe.Protocol
	User     string // to log in as, where a client certificate is to be accepted
}

// Process reports whether the process beside the agent serves an endpoint: it may present a custom certificate.
func (e Endpoint) Process() bool { return e.Protocol != probe.HTTPS }

// Published is the fingerprint of the server leaf that an endpoint of a party is to serve, "" if there is none.
func (e Endpoint) Published(party *facts.Party) string {
	return party.Served(&facts.Proof{Port: e.Name, Process: e.Process()})
}

// Proof is the last handshake with an endpoint.
type Proof struct {
	Facts    pki.CertificateFacts
	Revision string    // that the agent reported as active
	Problem  string    // "" when the handshake went well
	Since    time.Time // first handshake that saw this leaf
	at       time.Time // of this handshake
	failures int       // in a row: no handshake, or another leaf than the published one
}

type proofKey struct {
	uid  types.UID
	port string
}

// Probe is probe.Dial.
type Probe func(context.Context, probe.Target) (probe.Served, error)

// Proofs remembers the operator's own handshakes. They are evidence of an
// instant: after a restart everything is proven again.
type Proofs struct {
	dial Probe

	mu      sync.Mutex
	seen    map[proofKey]Proof
	cluster map[types.UID]types.NamespacedName // cluster of a pod
}

// NewProofs knows nothing yet.
func NewProofs(dial Probe) *Proofs {
	return &Proofs{dial: dial, seen: map[proofKey]Proof{}, cluster: map[types.UID]types.NamespacedName{}}
}

// Of returns the proofs of a pod as facts. One that did not show the published
// leaf is forgotten after a pause, so that it is tried again.
func (p *Proofs) Of(uid types.UID, endpoints []Endpoint, now time.Time) []facts.Proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]facts.Proof, 0, len(endpoints))
	for _, e := range endpoints {
		last, ok := p.seen[proofKey{uid, e.Name}]
		fact := facts.Proof{Port: e.Name, Process: e.Process()}
		if ok && now.Before(last.at.Add(last.pause())) {
			fact = facts.Proof{Port: e.Name, Process: e.Process(), Fingerprint: last.Facts.Fingerprint, Revision: last.Revision, Problem: last.Problem}
		}
		out = append(out, fact)
	}
	return out
}

// pause is how long a handshake counts before it is made again.
func (p Proof) pause() time.Duration {
	if p.failures == 0 {
		return proofFresh
	}
	return min(proofPauseMin<<min(max(p.failures-1, 0), 5), proofPauseMax)
}

// Look returns when the oldest handshake of a cluster that went well is to be made again at the latest; zero: there is none.
func (p *Proofs) Look(cluster types.NamespacedName) (at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, last := range p.seen {
		if due := last.at.Add(proofAge - spread(cluster)); p.cluster[key.uid] == cluster && last.failures == 0 && (at.IsZero() || due.Before(at)) {
			at = due
		}
	}
	return at
}

// spread is a part of proofSpread that differs from cluster to cluster.
func spread(cluster types.NamespacedName) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(cluster.String())) // it never fails
	return time.Duration(hash.Sum32()) % proofSpread
}

// Last returns what is known of an endpoint, for the status.
func (p *Proofs) Last(uid types.UID, port string) (Proof, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.seen[proofKey{uid, port}]
	return last, ok
}

// Saw reports whether some port of a pod was seen to serve while its agent reported a revision.
func (p *Proofs) Saw(uid types.UID, revision string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, last := range p.seen {
		if key.uid == uid && last.Revision == revision && last.Problem == "" {
			return true
		}
	}
	return false
}

// Renounce makes every proof of a pod stale: the pod is asked for a revision that it may have served before, and what was seen then
// says nothing of now.
func (p *Proofs) Renounce(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, last := range p.seen {
		if key.uid == uid {
			last.Revision = ""
			p.seen[key] = last
		}
	}
}

// KeepOnly forgets a cluster's pods that are gone.
func (p *Proofs) KeepOnly(cluster types.NamespacedName, keys map[Run]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := map[types.UID]bool{}
	for key := range keys {
		kept[key.UID] = true
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

// Request asks for handshakes with all endpoints of a pod.
type Request struct {
	Run        Run
	Cluster    types.NamespacedName
	ServerName string
	Endpoints  []Endpoint
	Identity   *Identity
	Revision   string
	Party      *facts.Party // whose leaves are to be served
	Now        time.Time
	Revoked    *pki.KeyPair // that a PostgreSQL is to refuse; nil: there is none
}

// Prove handshakes with all endpoints at once and remembers what they served.
// It returns the serial that the process served, "" unless all of them served what they should.
func (p *Proofs) Prove(ctx context.Context, request Request) string {
	if request.Identity == nil {
		return ""
	}
	results := make([]Proof, len(request.Endpoints))
	var wait sync.WaitGroup
	for i, e := range request.Endpoints {
		wait.Go(func() { results[i] = p.handshake(ctx, request, e) })
	}
	wait.Wait()
	return p.remember(request, results)
}

func (p *Proofs) remember(request Request, results []Proof) (serial string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cluster[request.Run.UID] = request.Cluster
	proven := true
	for i, e := range request.Endpoints {
		key := proofKey{request.Run.UID, e.Name}
		result, before := results[i], p.seen[key]
		result.Since = result.at
		if before.Facts.Fingerprint == result.Facts.Fingerprint && !before.Since.IsZero() {
			result.Since = before.Since
		}
		if result.Problem != "" || result.Facts.Fingerprint != e.Published(request.Party) {
			result.failures = before.failures + 1
		}
		p.seen[key] = result
		proven = proven && result.failures == 0
		if serial == "" || e.Process() {
			serial = result.Facts.Serial
		}
	}
	if !proven {
		return ""
	}
	return serial
}

func (p *Proofs) handshake(ctx context.Context, request Request, e Endpoint) Proof {
	target := targetOf(request, e)
	if e.User != "" {
		target.ClientCertificate = &request.Identity.Certificate
	}
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	served, err := p.dial(ctx, target)
	if err == nil && e.User != "" && request.Revoked != nil {
		err = p.refusesRevoked(ctx, target, request.Revoked)
	}
	result := Proof{Facts: served.Leaf, Revision: request.Revision, at: request.Now}
	if err != nil {
		result.Problem, result.Facts = InWords(err), pki.CertificateFacts{}
	}
	return result
}

var errAcceptsRevoked = errors.New("a revoked certificate is accepted: the revocation lists are not in force; see the log of PostgreSQL for the file that it refuses")

// canaryAttempts: a server that hangs up at once may be quicker than the alert that says why.
const canaryAttempts = 5

// refusesRevoked shows a revoked canary to a PostgreSQL. No answer is no refusal.
func (p *Proofs) refusesRevoked(ctx context.Context, target probe.Target, canary *pki.KeyPair) error {
	certificate := canary.TLS()
	target.ClientCertificate = &certificate
	var err error
	for range canaryAttempts {
		_, err = p.dial(ctx, target)
		if err == nil {
			return errAcceptsRevoked
		}
		if probe.ReasonOf(err) == probe.ClientRefused || ctx.Err() != nil {
			break
		}
	}
	if probe.ReasonOf(err) == probe.ClientRefused {
		return nil
	}
	return fmt.Errorf("presenting a revoked certificate: %w", err)
}

// Present presents a client certificate wherever a pod accepts some, and returns how it ended there: nil says that it was
// accepted. What was seen is not remembered.
func (p *Proofs) Present(ctx context.Context, request Request, pair *pki.KeyPair) (ends []error) {
	certificate := pair.TLS()
	for _, e := range request.Endpoints {
		if e.User == "" {
			continue
		}
		target := targetOf(request, e)
		target.ClientCertificate = &certificate
		ctx, cancel := context.WithTimeout(ctx, proofTimeout)
		_, err := p.dial(ctx, target)
		cancel()
		ends = append(ends, err)
	}
	return ends
}

func targetOf(request Request, e Endpoint) probe.Target {
	target := probe.Target{
		Address:    net.JoinHostPort(request.Run.Address, strconv.Itoa(int(e.Port))),
		ServerName: nameToVerify(request.ServerName, e), Protocol: e.Protocol,
		Anchors: request.Identity.Anchors, At: request.Now, Lenient: e.Process(),
	}
	if e.User != "" {
		target.User, target.Database = e.User, "postgres"
	}
	return target
}

// nameToVerify is none where a custom certificate may be served: it names Services, or what users call them, and no pods. Which
// certificate it is, and not only whose, is compared afterwards.
func nameToVerify(serverName string, e Endpoint) string {
	if e.Process() {
		return ""
	}
	return serverName
}

// InWords leaves out the operator's own port, which is another each time: what
// is the same must read the same, or each attempt would be a write of the status.
func InWords(err error) string {
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Source != nil {
		text = strings.ReplaceAll(text, op.Source.String()+"->", "")
	}
	return text
}
