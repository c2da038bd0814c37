package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PostgresClusterStatus is what the operator knows. It is a report only:
// nothing is ever decided from it, and deleting all of it changes nothing.
type PostgresClusterStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, TLSReady, Progressing and others; reasons are typed.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ReadyInstances is "ready/wanted".
	// +optional
	ReadyInstances string `json:"readyInstances,omitempty"`

	// +optional
	// +listType=map
	// +listMapKey=name
	Instances []InstanceSetStatus `json:"instances,omitempty"`

	// +optional
	Proxy *ProxyStatus `json:"proxy,omitempty"`

	// +optional
	TLS *TLSStatus `json:"tls,omitempty"`
}

// InstanceSetStatus counts the instances of a set.
type InstanceSetStatus struct {
	Name            string `json:"name"`
	Replicas        int32  `json:"replicas"`
	ReadyReplicas   int32  `json:"readyReplicas"`
	UpdatedReplicas int32  `json:"updatedReplicas"`
}

// ProxyStatus counts the pods of the proxy.
type ProxyStatus struct {
	PGBouncer PGBouncerStatus `json:"pgBouncer"`
}

// PGBouncerStatus counts the pods of PgBouncer.
type PGBouncerStatus struct {
	Replicas      int32 `json:"replicas"`
	ReadyReplicas int32 `json:"readyReplicas"`
}

// TLSStatus is what is served, what is next, and what is waited for.
type TLSStatus struct {
	// State is Steady, Renewing, Waiting, or NotServing while no pod runs, derived from what was observed.
	// +optional
	State string `json:"state,omitempty"`

	// NextRenewal is when the next leaf is replaced, RFC 3339, in UTC.
	// +optional
	NextRenewal string `json:"nextRenewal,omitempty"`

	// Authorities by trust domain and generation.
	// +optional
	// +listType=map
	// +listMapKey=name
	Authorities []AuthorityStatus `json:"authorities,omitempty"`

	// Rekeys of authorities that are under way.
	// +optional
	// +listType=map
	// +listMapKey=domain
	Rekeys []RekeyStatus `json:"rekeys,omitempty"`

	// Endpoints by pod and port, with what each was last proven to serve.
	// +optional
	// +listType=map
	// +listMapKey=name
	Endpoints []EndpointStatus `json:"endpoints,omitempty"`

	// ClientCertificates of users.
	// +optional
	// +listType=map
	// +listMapKey=user
	ClientCertificates []ClientCertificateStatus `json:"clientCertificates,omitempty"`

	// Blockers are the parties that the rotation waits for, each with a reason.
	// +optional
	// +listType=atomic
	Blockers []BlockerStatus `json:"blockers,omitempty"`
}

// AuthorityStatus describes one generation of an authority.
type AuthorityStatus struct {
	// Name is <domain>-g<N>.
	Name     string      `json:"name"`
	Serial   string      `json:"serial"`
	NotAfter metav1.Time `json:"notAfter"`
	// Active: this generation issues new certificates.
	// +optional
	Active bool `json:"active,omitempty"`
	// SwitchedAt is when it began to sign in place of another one.
	// +optional
	SwitchedAt *metav1.Time `json:"switchedAt,omitempty"`
	// RolledBack is the last generation that was rolled back in favour of this one, such as server-g2. It is not tried again until asked.
	// +optional
	RolledBack string `json:"rolledBack,omitempty"`
	// RollbackReason is why: RolledBack (by request), ClientsRefuse or Tainted.
	// +optional
	RollbackReason string `json:"rollbackReason,omitempty"`
}

// RekeyStatus is the change from one authority to another, as it stands.
type RekeyStatus struct {
	// Domain is server or client.
	Domain string `json:"domain"`
	// Phase is Preparing, Reissuing, Soaking, Retiring or RollingBack; derived from what was observed.
	Phase string `json:"phase"`
	// From and To are generations such as server-g1.
	// +optional
	From string `json:"from,omitempty"`
	// +optional
	To string `json:"to,omitempty"`
	// AffectedClients says which clients are refused because nothing leads from the one authority to the other.
	// +optional
	AffectedClients string `json:"affectedClients,omitempty"`
}

// ClientCertificateStatus is what was issued to a user and has not ended.
type ClientCertificateStatus struct {
	// User is the common name of the certificates, and the role that they log in as.
	User string `json:"user"`
	// Serial of the certificate in the Secret <cluster>-pguser-<user>-cert, lower-case hexadecimal.
	// +optional
	Serial string `json:"serial,omitempty"`
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// Replaced certificates are accepted until they end.
	// +optional
	Replaced int `json:"replaced,omitempty"`
	// Revoked certificates are refused.
	// +optional
	Revoked int `json:"revoked,omitempty"`
}

// EndpointStatus is what a pod was proven to serve on a port.
type EndpointStatus struct {
	// Name is <pod>:<port name>.
	Name string `json:"name"`
	// Serial of the served leaf, lower-case hexadecimal.
	// +optional
	Serial string `json:"serial,omitempty"`
	// Issuer of the served leaf: its distinguished name.
	// +optional
	Issuer string `json:"issuer,omitempty"`
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// Revision of the material that the pod's agent says is active.
	// +optional
	Revision string `json:"revision,omitempty"`
	// ProvenSince is when the operator's own handshake last saw this leaf for the first time.
	// +optional
	ProvenSince *metav1.Time `json:"provenSince,omitempty"`
	// Reason why the endpoint is not proven; empty when it is.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// BlockerStatus says for whom and why the rotation waits.
type BlockerStatus struct {
	// Party, pod or Secret that is waited for.
	Party string `json:"party"`
	// Reason is a typed CamelCase code, the same in events, metrics and logs.
	Reason string `json:"reason"`
	// Message with the fact and the remedy.
	Message string `json:"message"`
}
