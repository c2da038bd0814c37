package rotation

import (
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// Domain is a trust domain. Each has its own authority.
type Domain string

// The trust domains.
const (
	Server Domain = "server" // what servers present
	Client Domain = "client" // what clients present
)

// Domains returns both, in a fixed order.
func Domains() []Domain { return []Domain{Server, Client} }

// Policy is what the user wants of certificates.
type Policy struct {
	// Authorities: life and key of each domain's authority.
	Authorities map[Domain]CertificatePolicy
	// RenewRequest is the value of the annotation pgtls.dev/renew-requested-at; "" asks for nothing.
	RenewRequest string
	// Rekey holds what is wanted of each domain's re-keying.
	Rekey map[Domain]RekeyPolicy
	// RetireSoak is how long an old authority stays trusted after its successor has begun to sign.
	RetireSoak time.Duration
	// RetireManual: an old authority is dropped only when RekeyPolicy.Approved names it.
	RetireManual bool
	// Paused: nothing planned is begun, neither a re-key nor a renewal that can wait. A re-key that is under way goes on, for in
	// its middle is no place to stay.
	Paused bool
	// AutoRollback undoes a re-key of the server domain by itself when clients refuse what is served.
	AutoRollback AutoRollback
	// Windows are when what is planned may begin; nil: at any time. They hold a re-key that is under way as well.
	Windows Windows
	// WindowsInvalid says which of them cannot be understood, and the remedy: until then nothing planned begins.
	WindowsInvalid string
	// UrgentBefore: what ends sooner than this waits neither for a window nor for the end of a pause; 0: a quarter of its RenewBefore.
	UrgentBefore time.Duration
	// TrustPropagationDelay is how long clients that follow the ConfigMap are given to take a new issuer before it is presented.
	TrustPropagationDelay time.Duration
	// ApprovedAnchors name the anchors from elsewhere that may be dropped: the domain and the first 12 digits of the fingerprint.
	ApprovedAnchors []string
}

// AutoRollback is what clients must do for a re-key to be undone: refuse leaves of the new authority this many times, and
// this many times as often as they refused those of the old one.
type AutoRollback struct {
	Refusals int // 0: never
	Factor   int
}

// RekeyPolicy is what a user asks of one domain's authority. 0 and "" ask for nothing.
type RekeyPolicy struct {
	Request  string // id of pgtls.dev/rotate-authority-requested-at: a value that no authority has answered asks for a new one
	Rollback string // id of pgtls.dev/rollback-requested-at: a value that the newest authority has not seen at its birth undoes it
	Tainted  int    // generation that must not be trusted any longer
	Approved int    // generation that may be dropped
}

// CertificatePolicy is the life and key of a certificate.
type CertificatePolicy struct {
	Life        time.Duration
	RenewBefore time.Duration // how long before its end it is replaced
	Algorithm   pki.Algorithm
}

// Observed holds the facts that Next decides from. What could not be read is
// absent or says so; absent facts are unknown and never a yes.
type Observed struct {
	// Now is the time of the observation.
	Now time.Time
	// Authorities that are stored, in any order.
	Authorities []Authority
	// GenerationSeen is the highest generation per domain that any material or
	// bundle names. A generation that was seen and is not stored is lost.
	GenerationSeen map[Domain]int
	// Foreign are the anchors from elsewhere that are wanted or noted as trusted, sorted by domain and fingerprint.
	Foreign []Anchor
	// PublicTrust is the ConfigMap that clients read the server bundle from.
	PublicTrust Trust
	// Parties that are wanted, sorted by name.
	Parties []Party
	// Leftovers are the leaves of material that no party wants and that some pod may still use.
	Leftovers []Leftover
	// Unwanted names material that no party wants and no pod can use any more, sorted.
	Unwanted []string
	// UnwantedApplications names the Secrets of applications that are to have none any more, sorted.
	UnwantedApplications []string
	// Ledger is what was issued to applications.
	Ledger Ledger
}

// Leftover is a leaf that a pod on its way out may use.
type Leftover struct {
	Party       string
	Domain      Domain
	IssuerKeyID string
}

// Authority is a stored authority, or one whose Secret is gone and whose certificate stands in some bundle.
type Authority struct {
	Domain      Domain
	Generation  int
	Certificate pki.CertificateFacts
	// Created is when its Secret was made; zero when that is not known.
	Created time.Time
	// Problem says why it cannot sign: "" when it can.
	Problem Reason
	// Message goes with Problem.
	Message string
	// Original and Copy are the two Secrets that may hold it.
	Original, Copy Store
	// Forward is this authority's key signed by the one before it, Backward the one before it signed by this one:
	// the bridges that were made together with it. Zero: there is none.
	Forward, Backward Bridge
	// Older is the bridge to the one before it, as that one had it: its own Secret goes away with it, and who trusts only the
	// one before that still needs it.
	Older Bridge
	// What was decided about it, and stands on its Secret.
	Marks
}

// Bridge is a cross-certificate: one authority vouches for another.
type Bridge struct {
	Fingerprint         string
	KeyID               string // of the authority that is vouched for
	IssuerKeyID         string // of the one that vouches
	NotBefore, NotAfter time.Time
}

// Marks are decisions about authorities that outlive a crash. Each is one write to the Secret of one authority, and each
// is only ever read together with the evidence: a mark that somebody removes makes the operator decide again.
type Marks struct {
	Answered     string    // RekeyPolicy.Request that its creation, or a roll-back to it, answered
	RollbackSeen string    // RekeyPolicy.Rollback as it was when it was made: an old wish, not about this one
	SwitchedAt   time.Time // since when it signs; zero: it has not begun to, unless it is the oldest
	RolledBack   int       // generations from the next one up to this were withdrawn in its favour
	RolledBackBy Reason    // why, the last time
	Retired      []int     // generations that were dropped from trust while it signed
}

// Store is the state of a Secret that holds an authority.
type Store struct {
	Present  bool
	Deleting bool // somebody deleted it and its finalizer holds it
}

// Trust is a published bundle.
type Trust struct {
	State   MaterialState
	Anchors []string // fingerprints
}

// Kind of a party.
type Kind string

// The kinds of party.
const (
	Operator Kind = "operator"
	Instance Kind = "instance"
	Pooler   Kind = "pooler"
)

// Party is something that presents or verifies certificates and has its own material.
type Party struct {
	Name     string // of its material Secret
	Kind     Kind
	Wants    []LeafWant
	Customs  []Custom // what its process is to present in place of its own leaf, at most one in a domain
	Material Material
	Pods     []Pod // sorted by name; none for the operator and for applications

	User         string    // of an application: the role that it logs in as
	RevokeBefore time.Time // of an application: what was issued before is revoked once this time has come; zero: nothing
}

// LeafWant is a leaf that a party is to have.
type LeafWant struct {
	Domain     Domain
	CommonName string
	DNSNames   []string // sorted, lower case
	IPs        []string // sorted, canonical text
	CertificatePolicy
}

// names reports whether a leaf's subject, as pki.Facts gives it, is the wanted one.
func (w *LeafWant) names(subject string) bool {
	if w.CommonName == "" {
		return subject == ""
	}
	name, found := strings.CutPrefix(subject, "CN=")
	return found && name == w.CommonName
}

// MaterialState says what is known of a material Secret.
type MaterialState string

// The states of a material Secret.
const (
	Unknown MaterialState = ""        // could not be read: nothing is done about it
	Missing MaterialState = "Missing" // there is none
	Foreign MaterialState = "Foreign" // it belongs to somebody else: never overwritten
	Present MaterialState = "Present" // it is there; what its parts are worth stands in Material
)

// Material is what a party's Secret holds.
type Material struct {
	State    MaterialState
	Revision string // pki.Revision over all of it
	// Answered is the last RenewRequest that this material was issued for.
	Answered string
	Leaves   []Leaf
	// Customs are what the process presents in place of the leaf of a domain.
	Customs []Custom
	// Anchors are what its bundles hold; nil where one does not parse.
	Anchors Bundles
	// Revoked is what stands on its revocation lists, and Lists their numbers.
	Revoked Revocations
	Lists   ListNumbers
	// Altered: it holds something besides what belongs there, so that no pod would take it.
	Altered bool
}

// Bundles are the fingerprints of the anchors in each domain's bundle; nil: unknown, which is not the same as none.
type Bundles struct{ Server, Client []string }

// Of returns those of one domain.
func (b *Bundles) Of(domain Domain) []string {
	if domain == Server {
		return b.Server
	}
	return b.Client
}

// Set replaces those of one domain.
func (b *Bundles) Set(domain Domain, fingerprints []string) {
	if domain == Server {
		b.Server = fingerprints
	} else {
		b.Client = fingerprints
	}
}

// Leaf is a leaf with its key as found in a material Secret.
type Leaf struct {
	Domain Domain
	// Problem is why it cannot be used (a pki.Reason), "" when it can.
	Problem string
	// Chain are the fingerprints of what is presented behind it: bridges.
	Chain []string
	pki.CertificateFacts
}

// Pod is a pod of a party whose agent has started. A pod that has not come so
// far serves nothing, will take what is published, and is not listed.
type Pod struct {
	Name    string
	Primary bool
	// Asked is the revision in the pod's annotation, "" when there is none.
	Asked string
	// NudgeAt is when the kubelet may be told again to deliver what was asked for; zero: not.
	NudgeAt time.Time
	// Report of its agent; nil when it is unknown.
	Report *Report
	// Proofs are the operator's own handshakes, one for each port that is to be proven.
	Proofs []Proof
	// Sessions came to the pod's PostgreSQL with a client certificate of the cluster's client authority, and from
	// elsewhere than its own pods, whose certificates the operator replaces. They count only when SessionsKnown.
	Sessions      []Session
	SessionsKnown bool
	// Swept tells of sessions that were ended because their certificates are revoked.
	Swept Swept
}

// Session is a connection that was let in by its client certificate.
type Session struct {
	Generation    int // of the client authority that issued the certificate; 0: somebody else's
	Issuer        string
	User, Address string
}

// Report is what an agent says of itself.
type Report struct {
	Active  string // revision
	Mounted string // revision that the kubelet has delivered
	Asked   string // revision that the kubelet has told it to use: the annotation as delivered
	// ActiveUntil is when the first leaf of the active material ends; zero when unknown.
	ActiveUntil time.Time
	// Loaded are the anchors that the pod's processes have loaded; nil where that is unknown.
	Loaded Bundles
	// Lists are the numbers of the revocation lists of what is active.
	Lists ListNumbers
	// Refused are the handshakes that clients broke off because they do not trust what the pod serves.
	Refused        []Refused
	ProblemReason  string
	ProblemMessage string
}

// Refused counts the handshakes that clients broke off while a pod served a leaf of one authority.
type Refused struct {
	IssuerKeyID string
	Count       int
	Served      time.Duration // how long it was served, as far as the agent knows
}

// Proof is the outcome of the operator's own handshake with a port.
type Proof struct {
	Port        string
	Process     bool   // PostgreSQL or PgBouncer serves it, and not the agent: it may present a custom certificate
	Fingerprint string // of the served leaf, "" when unknown
	Revision    string // that the agent reported as active when the handshake was made; another one makes the proof stale
	Problem     string // why there is no served leaf, in one line
}

func (p *Party) material(d Domain) *Leaf {
	for i := range p.Material.Leaves {
		if p.Material.Leaves[i].Domain == d {
			return &p.Material.Leaves[i]
		}
	}
	return nil
}

func (p *Party) wants(d Domain) bool {
	for i := range p.Wants {
		if p.Wants[i].Domain == d {
			return true
		}
	}
	return false
}

// publishUrgentAt returns when one of a party's published leaves can wait for no
// gate any longer; zero when it has none.
func (p *Party) publishUrgentAt(policy *Policy) (first time.Time) {
	for i := range p.Wants {
		w := &p.Wants[i]
		leaf := p.material(w.Domain)
		if leaf == nil {
			continue
		}
		if at := leaf.NotAfter.Add(-policy.patience(w.RenewBefore)); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// urgentAt returns when less than half of the shortest renewal window is left of
// what a pod uses, and whether that is known: UnknownIsNo.
func (p *Party) urgentAt(pod *Pod) (time.Time, bool) {
	return p.endsIn(pod, p.shortestWindow()/2)
}

// endsIn returns the instant that is a while before the end of what a pod uses, and whether that is known.
func (p *Party) endsIn(pod *Pod, while time.Duration) (time.Time, bool) {
	if pod.Report == nil || pod.Report.ActiveUntil.IsZero() || len(p.Wants) == 0 {
		return time.Time{}, false
	}
	return pod.Report.ActiveUntil.Add(-while), true
}

// shortestWindow is the shortest time before its end that one of a party's leaves is renewed. Of a custom certificate it is a
// third of its life: one of a few hours is not urgent from its first minute on.
func (p *Party) shortestWindow() (window time.Duration) {
	for i := range p.Wants {
		if w := &p.Wants[i]; i == 0 || w.RenewBefore < window {
			window = w.RenewBefore
		}
	}
	for _, customs := range [...][]Custom{p.Customs, p.Material.Customs} {
		for i := range customs {
			if life := customs[i].NotAfter.Sub(customs[i].NotBefore); life > 0 { // that of a damaged one is not known
				window = min(window, life/3)
			}
		}
	}
	return window
}

// pending reports whether the agent holds something that it does not use.
func (r *Report) pending() bool { return r.Mounted != "" && r.Mounted != r.Active }

// delivered reports whether the kubelet has brought both the files and the
// request to use them. They are two volumes, and one may come without the other.
func (r *Report) delivered(revision string) bool { return r.Mounted == revision && r.Asked == revision }
