package v1beta1

import "time"

// TLSSpec holds the lives, keys and names of certificates, per trust domain and role.
type TLSSpec struct {
	// MinimumVersion of TLS that what pgtls runs accepts.
	// +optional
	// +kubebuilder:default="1.3"
	// +kubebuilder:validation:Enum="1.2";"1.3"
	MinimumVersion string `json:"minimumVersion,omitempty"`

	// Server is the trust domain of what servers present.
	// +optional
	Server *ServerTLSSpec `json:"server,omitempty"`

	// Client is the trust domain of what clients present.
	// +optional
	Client *ClientTLSSpec `json:"client,omitempty"`
}

// ServerTLSSpec is the trust domain of what servers present: PostgreSQL,
// PgBouncer, the Patroni REST API and the agent.
//
// +kubebuilder:validation:XValidation:rule="!has(self.authority) || !has(self.authority.duration) || !has(self.instances) || !has(self.instances.duration) || duration(self.authority.duration) >= duration(self.instances.duration) * 3",message="spec.tls.server.authority.duration: must be at least 3 times spec.tls.server.instances.duration, or authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
// +kubebuilder:validation:XValidation:rule="!has(self.authority) || !has(self.authority.duration) || !has(self.pgBouncer) || !has(self.pgBouncer.duration) || duration(self.authority.duration) >= duration(self.pgBouncer.duration) * 3",message="spec.tls.server.authority.duration: must be at least 3 times spec.tls.server.pgBouncer.duration, or authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
type ServerTLSSpec struct {
	// Authority that signs server leaves. Default: 17520h, re-keyed at half of its life, ECDSA-P256.
	// +optional
	Authority *CertificateSpec `json:"authority,omitempty"`
	// Instances' leaves. Default: 2160h, renewed at 2/3 of its life, ECDSA-P256.
	// +optional
	Instances *ServerCertificateSpec `json:"instances,omitempty"`
	// PGBouncer's leaf. Default: 2160h, renewed at 2/3 of its life, ECDSA-P256.
	// +optional
	PGBouncer *ServerCertificateSpec `json:"pgBouncer,omitempty"`
}

// ClientTLSSpec is the trust domain of what clients present: replication,
// PgBouncer towards PostgreSQL, the operator.
//
// +kubebuilder:validation:XValidation:rule="!has(self.authority) || !has(self.authority.duration) || [has(self.replication) && has(self.replication.duration) ? self.replication.duration : '0s', has(self.pgBouncer) && has(self.pgBouncer.duration) ? self.pgBouncer.duration : '0s', has(self.operator) && has(self.operator.duration) ? self.operator.duration : '0s'].all(d, duration(self.authority.duration) >= duration(d) * 3)",message="spec.tls.client.authority.duration: must be at least 3 times the duration of every client leaf, or authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
type ClientTLSSpec struct {
	// Authority that signs client leaves. Default: 17520h, re-keyed at half of its life, ECDSA-P256.
	// +optional
	Authority *CertificateSpec `json:"authority,omitempty"`
	// Replication's leaves, one per instance. Default: 720h, renewed at 2/3 of its life, ECDSA-P256.
	// +optional
	Replication *CertificateSpec `json:"replication,omitempty"`
	// PGBouncer's leaf towards PostgreSQL. Default: 720h, renewed at 2/3 of its life, ECDSA-P256.
	// +optional
	PGBouncer *CertificateSpec `json:"pgBouncer,omitempty"`
	// Operator's leaf towards PostgreSQL and the agents. Default: 720h, renewed at 2/3 of its life, ECDSA-P256.
	// +optional
	Operator *CertificateSpec `json:"operator,omitempty"`
}

// CertificateSpec is the life and key of a certificate.
//
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || !has(self.duration) || duration(self.renewBefore) < duration(self.duration)",message="renewBefore: must be shorter than duration, or the certificate would be renewed for ever; shorten renewBefore or lengthen duration"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || has(self.duration)",message="duration: must be set with renewBefore; set both or neither"
type CertificateSpec struct {
	// Duration is the life of the certificate.
	// +optional
	Duration *CertificateDuration `json:"duration,omitempty"`
	// RenewBefore is how long before its end the certificate is replaced. Default: a third of
	// Duration for a leaf, half for an authority.
	// +optional
	RenewBefore *CertificateDuration `json:"renewBefore,omitempty"`
	// KeyAlgorithm of the certificate's key. Ed25519 is not offered: with it PostgreSQL's
	// SCRAM channel binding fails.
	// +optional
	// +kubebuilder:validation:Enum=ECDSA-P256;ECDSA-P384;RSA-2048;RSA-3072;RSA-4096
	KeyAlgorithm string `json:"keyAlgorithm,omitempty"`
}

// ServerCertificateSpec is a CertificateSpec with names beyond those of the cluster's Services and pods.
type ServerCertificateSpec struct {
	CertificateSpec `json:",inline"`

	// DNSNames beyond those that pgtls adds by itself.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^([*][.])?[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$')",message="dnsNames: not a DNS name that TLS clients accept; remove a trailing dot, an IP address belongs in ipAddresses, a '*' may only be the whole first label"
	DNSNames []string `json:"dnsNames,omitempty"`

	// IPAddresses beyond those that pgtls adds by itself.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="ipAddresses: not an IP address; write it without prefix length or port, a name belongs in dnsNames"
	IPAddresses []string `json:"ipAddresses,omitempty"`
}

// CertificateDuration is a length of time such as 2160h, 90m or 180s (units h, m, s).
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') && self != ''",message="must be a length of time in hours, minutes and seconds such as 2160h or 1h30m; write days as hours"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') || self == '' || (duration(self) >= duration('1m') && duration(self) <= duration('175200h'))",message="must be between 1m and 175200h (20 years); choose a value in that range"
type CertificateDuration string

// Duration returns the length of time, or 0 if there is none or it cannot be
// parsed; the CRD's rules let only parsable ones in.
func (d *CertificateDuration) Duration() time.Duration {
	if d == nil {
		return 0
	}
	length, err := time.ParseDuration(string(*d))
	if err != nil {
		return 0
	}
	return length
}
