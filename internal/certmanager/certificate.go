// Package certmanager speaks cert-manager's language: it renders what pgtls asks of it, and reads what it answers.
// It is pure, and knows cert-manager by its API alone: none of its code is linked.
package certmanager

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/pki"
)

// Group and Version of cert-manager's API, and the kinds that concern pgtls.
const (
	Group   = "cert-manager.io"
	Version = "v1"

	CertificateKind   = "Certificate"
	IssuerKind        = "Issuer"
	ClusterIssuerKind = "ClusterIssuer"
)

// CertificateGVK is what Certificate renders and StatusOf reads.
var CertificateGVK = schema.GroupVersionKind{Group: Group, Version: Version, Kind: CertificateKind}

// Annotations that cert-manager writes on the Secrets that it fills, and the label of those that it fills or is about to.
const (
	CertificateNameAnnotation = Group + "/certificate-name"
	IssuerNameAnnotation      = Group + "/issuer-name"
	IssuerKindAnnotation      = Group + "/issuer-kind"
	IssuerGroupAnnotation     = Group + "/issuer-group"

	ControllerLabel = "controller." + Group + "/fao"
)

// Role is what a cluster's certificate from an issuer is for.
type Role string

// The roles, each with one certificate for all pods that play it.
const (
	InstancesRole   Role = "instances"   // what every PostgreSQL serves
	PGBouncerRole   Role = "pgbouncer"   // what PgBouncer serves
	ReplicationRole Role = "replication" // what replicas present
)

// Roles returns all of them.
func Roles() []Role { return []Role{InstancesRole, PGBouncerRole, ReplicationRole} }

// Name of a role's Certificate and of its Secret. Secrets of material end in -tls, so that neither is taken for the other.
func Name(cluster string, role Role) string { return cluster + "-" + string(role) + "-cert" }

// Request is what a Certificate is to say.
type Request struct {
	Name, Namespace string // the Secret has the same
	Owner           metav1.OwnerReference
	Labels          map[string]string
	Issuer          v1beta1.IssuerReference

	// CommonName of a server is left out when it has more than 64 characters, with which cert-manager takes no
	// certificate: clients look at the names. A client's is its role in PostgreSQL, and always short.
	CommonName  string
	DNSNames    []string
	IPAddresses []netip.Addr
	Usage       pki.Usage
	Algorithm   pki.Algorithm // "" means pki.DefaultAlgorithm

	Duration    time.Duration
	RenewBefore time.Duration // 0: a third of what the issuer gives, which is cert-manager's own default
}

// maxCommonName is ub-common-name of RFC 5280; cert-manager's webhook counts octets.
const maxCommonName = 64

// revisionHistory is how many CertificateRequests remain: the last one, with which cert-manager compares a changed spec.
const revisionHistory = 1

// Certificate renders the request. Equal requests give equal objects, whatever the order of names: each difference in a
// Certificate may be a new key.
func Certificate(r Request) *unstructured.Unstructured {
	spec := map[string]any{
		"secretName":           r.Name,
		"issuerRef":            issuerRef(r.Issuer),
		"usages":               usages(r.Usage),
		"privateKey":           privateKey(r.Algorithm),
		"revisionHistoryLimit": int64(revisionHistory),
		// As cert-manager's own code writes it: another text of the same length of time would look like a change.
		"duration": r.Duration.String(),
	}
	if r.RenewBefore > 0 {
		spec["renewBefore"] = r.RenewBefore.String()
	}
	if name := commonName(r); name != "" {
		spec["commonName"] = name
	}
	if names := dnsNames(r.DNSNames); len(names) > 0 {
		spec["dnsNames"] = names
	}
	if addresses := ipAddresses(r.IPAddresses); len(addresses) > 0 {
		spec["ipAddresses"] = addresses
	}
	certificate := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	certificate.SetGroupVersionKind(CertificateGVK)
	certificate.SetNamespace(r.Namespace)
	certificate.SetName(r.Name)
	certificate.SetLabels(r.Labels)
	certificate.SetOwnerReferences([]metav1.OwnerReference{r.Owner})
	return certificate
}

// issuerRef always names kind and group: cert-manager 1.19.0 issued every certificate anew that left one to a default.
func issuerRef(issuer v1beta1.IssuerReference) map[string]any {
	ref := map[string]any{"name": issuer.Name, "kind": issuer.Kind, "group": issuer.Group}
	if issuer.Kind == "" {
		ref["kind"] = IssuerKind
	}
	if issuer.Group == "" {
		ref["group"] = Group
	}
	return ref
}

func commonName(r Request) string {
	tooLong := len(r.CommonName) > maxCommonName || !utf8.ValidString(r.CommonName)
	if tooLong && r.Usage == pki.ServerAuth {
		return ""
	}
	return r.CommonName
}

func dnsNames(names []string) []any {
	sorted := make([]string, 0, len(names))
	for _, name := range names {
		sorted = append(sorted, strings.ToLower(name))
	}
	slices.Sort(sorted)
	return texts(slices.Compact(sorted))
}

func ipAddresses(addresses []netip.Addr) []any {
	sorted := make([]netip.Addr, 0, len(addresses))
	for _, address := range addresses {
		sorted = append(sorted, address.Unmap())
	}
	slices.SortFunc(sorted, netip.Addr.Compare)
	var written []string
	for _, address := range slices.Compact(sorted) {
		written = append(written, address.String())
	}
	return texts(written)
}

// usages are those of pgtls's own leaves: no key encipherment, since no cipher of TLS 1.2 or 1.3 that pgtls allows needs it.
func usages(usage pki.Usage) []any {
	all := []string{"digital signature"}
	if usage.Has(pki.ServerAuth) {
		all = append(all, "server auth")
	}
	if usage.Has(pki.ClientAuth) {
		all = append(all, "client auth")
	}
	return texts(all)
}

// privateKey asks for a new key with each certificate, which is no default before cert-manager 1.18.
func privateKey(algorithm pki.Algorithm) map[string]any {
	kind, size := keySize(algorithm)
	return map[string]any{"algorithm": kind, "size": size, "encoding": "PKCS8", "rotationPolicy": "Always"}
}

func keySize(algorithm pki.Algorithm) (kind string, size int64) {
	switch algorithm {
	case pki.ECDSAP384:
		return "ECDSA", 384
	case pki.RSA2048:
		return "RSA", 2048
	case pki.RSA3072:
		return "RSA", 3072
	case pki.RSA4096:
		return "RSA", 4096
	case pki.ECDSAP256:
	}
	return "ECDSA", 256
}

// texts is how unstructured objects hold a list of strings.
func texts(list []string) []any {
	var items []any
	for _, item := range list {
		items = append(items, item)
	}
	return items
}
