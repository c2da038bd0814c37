package v1beta1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values of TLSSpec.Adoption besides Gated.
const (
	AdoptImmediate = "Immediate"
	AdoptManual    = "Manual"
)

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

	// Rotation is how an authority is replaced by a new one.
	// +optional
	Rotation *RotationSpec `json:"rotation,omitempty"`

	// Adoption is how a custom certificate takes its place. Gated: it is presented once every process of the cluster is known
	// to trust its issuer. Manual: then also only once the annotation pgtls.dev/adopt-approved names it. Immediate: at once.
	// +optional
	// +kubebuilder:default=Gated
	// +kubebuilder:validation:Enum=Immediate;Gated;Manual
	Adoption string `json:"adoption,omitempty"`

	// TrustPropagationDelay is how long clients that follow the ConfigMap <cluster>-ca are given to take a new issuer before what it issued
	// is presented. A kubelet brings a mounted ConfigMap within about a minute.
	// +optional
	// +kubebuilder:default="2m"
	TrustPropagationDelay *SoakDuration `json:"trustPropagationDelay,omitempty"`
}

// ServerTLSSpec is the trust domain of what servers present: PostgreSQL,
// PgBouncer, the Patroni REST API and the agent.
//
// +kubebuilder:validation:XValidation:rule="[self.?authority.?duration.orValue('17520h'), self.?instances.?duration.orValue('2160h')].exists(d, !d.matches('^([0-9]{1,6}[hms])+$')) || duration(self.?authority.?duration.orValue('17520h')).getSeconds() >= 3 * duration(self.?instances.?duration.orValue('2160h')).getSeconds()",message="authority.duration is less than 3 times instances.duration (one that is not given has its default), authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
// +kubebuilder:validation:XValidation:rule="[self.?authority.?duration.orValue('17520h'), self.?pgBouncer.?duration.orValue('2160h')].exists(d, !d.matches('^([0-9]{1,6}[hms])+$')) || duration(self.?authority.?duration.orValue('17520h')).getSeconds() >= 3 * duration(self.?pgBouncer.?duration.orValue('2160h')).getSeconds()",message="authority.duration is less than 3 times pgBouncer.duration (one that is not given has its default), authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
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

	// IssuerRef has cert-manager issue what PostgreSQL and PgBouncer serve.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`
	// AdditionalTrust are authorities that clients are to trust besides, and that a custom chain may lead to.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	AdditionalTrust []TrustSource `json:"additionalTrust,omitempty"`
	// SystemRoots: a custom chain without ca.crt, as ACME issuers give, may lead to an authority that the operator's system
	// trusts. Only that one joins the bundles.
	// +optional
	SystemRoots bool `json:"systemRoots,omitempty"`
}

// ClientTLSSpec is the trust domain of what clients present: replication,
// PgBouncer towards PostgreSQL, the operator.
//
// +kubebuilder:validation:XValidation:rule="[self.?authority.?duration.orValue('17520h'), self.?replication.?duration.orValue('720h')].exists(d, !d.matches('^([0-9]{1,6}[hms])+$')) || duration(self.?authority.?duration.orValue('17520h')).getSeconds() >= 3 * duration(self.?replication.?duration.orValue('720h')).getSeconds()",message="authority.duration is less than 3 times replication.duration (one that is not given has its default), authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
// +kubebuilder:validation:XValidation:rule="[self.?authority.?duration.orValue('17520h'), self.?pgBouncer.?duration.orValue('720h')].exists(d, !d.matches('^([0-9]{1,6}[hms])+$')) || duration(self.?authority.?duration.orValue('17520h')).getSeconds() >= 3 * duration(self.?pgBouncer.?duration.orValue('720h')).getSeconds()",message="authority.duration is less than 3 times pgBouncer.duration (one that is not given has its default), authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
// +kubebuilder:validation:XValidation:rule="[self.?authority.?duration.orValue('17520h'), self.?operator.?duration.orValue('720h')].exists(d, !d.matches('^([0-9]{1,6}[hms])+$')) || duration(self.?authority.?duration.orValue('17520h')).getSeconds() >= 3 * duration(self.?operator.?duration.orValue('720h')).getSeconds()",message="authority.duration is less than 3 times operator.duration (one that is not given has its default), authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
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

	// IssuerRef has cert-manager issue what replicas present.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`
	// AdditionalTrust are authorities whose client certificates PostgreSQL accepts besides.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	AdditionalTrust []TrustSource `json:"additionalTrust,omitempty"`
}

// IssuerReference names a cert-manager issuer.
type IssuerReference struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Kind is Issuer, in the cluster's namespace, or ClusterIssuer, or what an external issuer calls itself.
	// +optional
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// +optional
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// TrustSource is a bundle of authorities in PEM, under a key of a Secret or a ConfigMap of the cluster's namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.secret) != has(self.configMap)",message="names a Secret and a ConfigMap, or neither; give one of them"
type TrustSource struct {
	// +optional
	Secret *TrustKey `json:"secret,omitempty"`
	// +optional
	ConfigMap *TrustKey `json:"configMap,omitempty"`
}

// TrustKey is a key of an object.
type TrustKey struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// +optional
	// +kubebuilder:default=ca.crt
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// CertificateSpec is the life and key of a certificate.
//
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || has(self.duration)",fieldPath=".renewBefore",messageExpression="self.renewBefore + ' is set without duration; set both or neither'"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || !has(self.duration) || [self.renewBefore, self.duration].exists(d, !d.matches('^([0-9]{1,6}[hms])+$')) || duration(self.renewBefore) + duration('30s') <= duration(self.duration)",fieldPath=".renewBefore",messageExpression="self.renewBefore + ' leaves less than 30s of duration ' + self.duration + ', the certificate would be renewed for ever; shorten renewBefore or lengthen duration'"
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

// ClientCertificateSpec is a CertificateSpec of a user. Default: 720h, renewed at 2/3 of its life, ECDSA-P256.
type ClientCertificateSpec struct {
	CertificateSpec `json:",inline"`

	// Required: the user logs in by client certificate alone, and no password is taken. PgBouncer passes no certificate on,
	// so such a user does not log in through it.
	// +optional
	Required bool `json:"required,omitempty"`

	// RevokeIssuedBefore is a time. Once it has come, every certificate of the user that was issued before it is revoked, and
	// a new one is issued.
	// +optional
	RevokeIssuedBefore *metav1.Time `json:"revokeIssuedBefore,omitempty"`
}

// ServerCertificateSpec is a CertificateSpec with names beyond those of the cluster's Services and pods.
type ServerCertificateSpec struct {
	CertificateSpec `json:",inline"`

	// DNSNames beyond those that pgtls adds by itself.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^([*][.])?[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$')",messageExpression="self + ' is no DNS name that TLS clients accept; remove a trailing dot, a \"*\" may only be the whole first label'"
	// +kubebuilder:validation:items:XValidation:rule="!isIP(self)",messageExpression="self + ' is an IP address; move it to ipAddresses'"
	DNSNames []string `json:"dnsNames,omitempty"`

	// IPAddresses beyond those that pgtls adds by itself.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",messageExpression="self + ' is no IP address; write it without prefix length and port, a name belongs in dnsNames'"
	IPAddresses []string `json:"ipAddresses,omitempty"`
}

// CertificateDuration is a length of time such as 2160h, 90m or 180s (units h, m, s),
// in at most 14 characters, which keeps it far from overflow.
//
// +kubebuilder:validation:MaxLength=14
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}[hms])+$')",messageExpression="self + ' is no length of time; write hours, minutes and seconds such as 2160h or 1h30m, days as hours'"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}[hms])+$') || (duration(self) >= duration('1m') && duration(self) <= duration('175200h'))",messageExpression="self + ' is out of range; choose between 1m and 175200h, which is 20 years'"
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
