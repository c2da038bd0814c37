// Package agentapi is what the operator and the agents agree on: file names in
// a material Secret, paths in a pod, ports, identities, and the report that an
// agent gives of itself. It links no Kubernetes package.
package agentapi

import "time"

// Files of a material Secret. The Secret holds these keys and no other; its
// revision is pki.Revision over all of them.
const (
	ServerCertificate = "server.crt" // leaf and chain of what the pod's servers present, PEM
	ServerKey         = "server.key" // its key, PKCS#8 PEM
	ClientCertificate = "client.crt" // leaf and chain that the pod presents as a client, PEM
	ClientKey         = "client.key" // its key, PKCS#8 PEM

	// What the process beside the agent serves, PostgreSQL or PgBouncer, and what PostgreSQL presents to the primary:
	// custom certificates, or the same as above.
	ServedCertificate    = "served.crt"
	ServedKey            = "served.key"
	PresentedCertificate = "presented.crt"
	PresentedKey         = "presented.key"

	ServerBundle = "server-ca.crt" // anchors of the trust domain "server", newest first, PEM
	ClientBundle = "client-ca.crt" // anchors of the trust domain "client", newest first, PEM

	// What the client authorities have revoked: one list for each anchor of ClientBundle, PEM. Only an instance's material may
	// have it, and only while something is revoked: PostgreSQL refuses a client that comes by an anchor without a list.
	RevocationLists = "client.crl"
)

// Paths in a pod.
const (
	MaterialDir  = "/pgtls/material"       // the mounted material Secret; the kubelet swaps ..data in it
	PodInfoDir   = "/pgtls/pod"            // downward API volume
	ActivateFile = "/pgtls/pod/activate"   // value of the pod's annotation pgtls.dev/activate; empty or missing: nothing asked
	ActiveDir    = "/pgtls/active"         // emptyDir in memory, shared with PostgreSQL or PgBouncer
	CurrentDir   = "/pgtls/active/current" // symbolic link to the active revision's directory: what ssl_cert_file etc. name

	// RevocationSettings is what PostgreSQL includes: ssl_crl_file where the active revision has RevocationLists. The agent
	// writes it beside the revision's files, so that both change in the same instant; it is there or not.
	RevocationSettings = "/pgtls/active/current/.revocation.conf"

	SocketDir    = "/run/postgresql" // Unix sockets of PostgreSQL and PgBouncer
	LogDir       = "/pgtls/log"      // emptyDir in memory, where they log to and the agent reads
	PostgresLog  = "/pgtls/log/postgresql.log"
	PGBouncerLog = "/pgtls/log/pgbouncer.log"

	// A pair for Patroni's loopback listener, made by the agent at start and kept in its pod.
	LoopbackCertificate = "/pgtls/active/loopback.crt"
	LoopbackKey         = "/pgtls/active/loopback.key"
)

// Ports in a pod.
const (
	PostgresPort        = 5432 // PostgreSQL; PgBouncer's is settable and by default the same
	AgentPort           = 8443 // the agent's own HTTPS
	PatroniPort         = 8008 // the agent's TLS in front of the Patroni REST API
	PatroniLoopbackPort = 8009 // Patroni itself, on 127.0.0.1 only
)

// Identities: the common names of client leaves, which are PostgreSQL roles too.
const (
	OperatorIdentity    = "_pgtls"
	ReplicationIdentity = "_pgtlsrepl"
	PGBouncerIdentity   = "_pgtlspgbouncer"
)

// ReplicationNames are the common names by which a replica may log in: our own, and the one that custom certificates made for PGO have.
func ReplicationNames() []string { return []string{ReplicationIdentity, "_crunchyrepl"} }

// CertificateRole is the PostgreSQL role whose members log in by client certificate alone.
const CertificateRole = "_pgtlscert"

// PathReport answers GET with a Report. Query: after=<sequence> and
// boot=<boot> of the last report seen make it wait until there is a newer one
// or wait=<seconds> (at most 60) have passed; then it answers 304.
// It wants a client certificate of OperatorIdentity.
const PathReport = "/v1/report"

// PathHealth answers 200 once material is installed, PathReady once the
// process beside the agent answers on its Unix socket. Neither wants a client certificate.
const (
	PathHealth = "/healthz"
	PathReady  = "/readyz"
)

// Report is what an agent knows of itself. Absent facts are empty and mean unknown.
type Report struct {
	Pod      string `json:"pod"`
	Kind     string `json:"kind"`     // name of the kind of party, see internal/party
	Boot     string `json:"boot"`     // changes when the agent starts anew
	Sequence uint64 `json:"sequence"` // grows with every change of anything below

	Mounted  string `json:"mounted,omitempty"`  // revision of the files that the kubelet has delivered
	Asked    string `json:"asked,omitempty"`    // revision that the operator asked for
	Active   string `json:"active,omitempty"`   // revision installed, loaded and seen in the local handshake
	Previous string `json:"previous,omitempty"` // revision kept for an instant undo
	Unasked  bool   `json:"unasked,omitempty"`  // Active was chosen without being asked: its predecessor was about to expire, or nothing was active

	ActivatedAt *time.Time `json:"activatedAt,omitempty"`

	ServerLeaf    *Leaf    `json:"serverLeaf,omitempty"`    // of Active
	ClientLeaf    *Leaf    `json:"clientLeaf,omitempty"`    // of Active
	ServedLeaf    *Leaf    `json:"servedLeaf,omitempty"`    // of Active: what the process serves, ServerLeaf or a custom certificate
	PresentedLeaf *Leaf    `json:"presentedLeaf,omitempty"` // of Active: what PostgreSQL presents to the primary
	ServerAnchors []string `json:"serverAnchors,omitempty"` // SHA-256 of each anchor of Active that the process has loaded, hex
	ClientAnchors []string `json:"clientAnchors,omitempty"`
	// RevocationLists of Active: the number of each, by the key identifier of the authority that signed it.
	RevocationLists map[string]int64 `json:"revocationLists,omitempty"`
	Served          []Served         `json:"served,omitempty"` // last local handshakes, by port name

	// Refused are the handshakes that clients broke off, by what was served: newest first, at most four.
	// Empty means unknown: the log of the process cannot be read, or nothing was seen to be served yet.
	Refused []Refused `json:"refused,omitempty"`

	Problem *Problem `json:"problem,omitempty"`
}

// Leaf names a certificate.
type Leaf struct {
	Serial   string    `json:"serial"` // lower-case hexadecimal
	NotAfter time.Time `json:"notAfter"`
}

// Served is the outcome of a local handshake.
type Served struct {
	Port   string `json:"port"` // postgres, pgbouncer
	Serial string `json:"serial,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Refused counts the handshakes that clients broke off because they did not accept the served certificate. Any host that reaches
// the port can send such an alert, so it is a hint and no proof.
type Refused struct {
	Revision string     `json:"revision"`
	Issuer   string     `json:"issuer"`          // the authority that issued what was served: its key identifier in lower-case hex, see pki.IssuerID
	Since    time.Time  `json:"since"`           // first seen to be served by this process of the agent
	Until    *time.Time `json:"until,omitempty"` // nil: served now
	Count    uint64     `json:"count"`
	Last     string     `json:"last,omitempty"` // words of the last alert, such as "unknown ca"
}

// Problem says why the agent has not done what was asked.
type Problem struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"` // the fact and the remedy
}

// Reason is a closed set of codes, the same in status, events, metrics and logs.
type Reason string

// Why an agent has not done what was asked.
const (
	AwaitingDelivery Reason = "AwaitingDelivery" // the kubelet has not delivered the asked revision yet
	MaterialInvalid  Reason = "MaterialInvalid"  // the delivered files were refused; what is active stays
	InstallFailed    Reason = "InstallFailed"    // the files could not be written where the process reads them
	ReloadFailed     Reason = "ReloadFailed"     // the process refused or did not answer the reload
	StillServingOld  Reason = "StillServingOld"  // the process was told to reload and serves the old leaf
	ProcessNotReady  Reason = "ProcessNotReady"  // the process beside the agent is not up; it will read the installed files when it starts
)

// Refusal is the body of a 403 of an agent, and of its 502 when Patroni does not answer it.
type Refusal struct {
	Reason  RefusalReason `json:"reason"`
	Message string        `json:"message"` // the fact and the remedy
}

// RefusalReason is a closed set of codes.
type RefusalReason string

// Why an agent refuses a request.
const (
	ClientCertificateRequired RefusalReason = "ClientCertificateRequired" // none was presented
	ClientUntrusted           RefusalReason = "ClientUntrusted"           // it does not verify against the active client bundle
	IdentityRefused           RefusalReason = "IdentityRefused"           // its identity may not send this request
	PatroniUnreachable        RefusalReason = "PatroniUnreachable"        // Patroni does not answer behind the agent
)
