package facts

import "time"

// Pod is a pod of a party whose agent has started. A pod that has not come so
// far serves nothing, will take what is published, and is not listed.
type Pod struct {
	Name    string
	Primary bool
	// Asked is the revision in the pod's annotation, "" when there is none.
	Asked string
	// RetriggerAt is when the kubelet may be triggered again to deliver what was asked for; zero: not.
	RetriggerAt time.Time
	// Report of its agent; nil when it is unknown.
	Report *Report
	// Proofs are the operator's own handshakes, one for each port that is to be proven.
	Proofs []Proof
	// Sessions came to the pod's PostgreSQL with a client certificate of the cluster's client authority, and from
	// elsewhere than its own pods, whose certificates the operator replaces. They count only when SessionsKnown.
	Sessions      []Session
	SessionsKnown bool
	// Terminated tells of sessions that were ended because their certificates are revoked.
	Terminated Terminated
}

// Session is a connection that was let in by its client certificate.
type Session struct {
	Generation    int // of the client authority that issued the certificate; 0: an external issuer's
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

// Pending reports whether the agent holds something that it does not use.
func (r *Report) Pending() bool { return r.Mounted != "" && r.Mounted != r.Active }

// Delivered reports whether the kubelet has brought both the files and the
// request to use them. They are two volumes, and one may come without the other.
func (r *Report) Delivered(revision string) bool { return r.Mounted == revision && r.Asked == revision }

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

// Terminated is when a pod's sessions that came in with revoked certificates were ended, after it had loaded the lists.
type Terminated struct {
	Lists string // what was on them, see Revocations.String
	First time.Time
	Last  time.Time
}
