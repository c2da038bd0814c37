package snapshot

import (
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Snapshot is one observation of a cluster: the facts that decisions are made
// from, and beside them what is needed to act on the decision and to report it.
type Snapshot struct {
	Cluster     *v1beta1.PostgresCluster
	PastCache   bool // read past the cache
	Unlisted    bool // there is an object that bears none of the cluster's labels, so that no cache knows it
	HasPods     bool // there is some pod, whatever its state
	Policy      facts.Policy
	Observed    facts.Observed
	Authorities []*StoredAuthority
	Finalized   []*corev1.Secret          // authorities with the finalizer of an earlier version of the operator
	Material    map[string]*corev1.Secret // by party; absent when there is none
	Ledger      *corev1.Secret            // of what was issued to applications; nil when there is none
	Record      *corev1.Secret            // of the anchors from elsewhere; nil when there is none
	// RecordForeign: a Secret that is not this cluster's has the record's name.
	RecordNotOwned bool

	External   []*ExternalAnchor
	Customs    []*Presented
	Pods       map[string]*corev1.Pod         // by name
	Endpoints  map[string][]evidence.Endpoint // by pod
	Handshakes map[string]evidence.Proof      // last handshake, by EndpointName

	Reports map[string]*agentapi.Report // by pod; nil: unknown

	Certificates Certificates // of cert-manager

	Unowned map[facts.Object]client.Object // that are to be taken back

	// Known are the certificates of authorities and bridges by fingerprint: those that are stored, and those of lost authorities.
	Known map[string]*x509.Certificate

	PublicTrust *corev1.ConfigMap // that clients read; nil when there is none

	ServicesUntil time.Time // until when a new party waits for its Services; zero: none does

	TrustFindings map[facts.Domain][]custom.Finding // about spec.tls.<domain>.additionalTrust
}

// Party returns a wanted party, nil when none is called so.
func (s *Snapshot) Party(name string) *facts.Party {
	for i := range s.Observed.Parties {
		if s.Observed.Parties[i].Name == name {
			return &s.Observed.Parties[i]
		}
	}
	return nil
}

// Authority returns a generation, nil when nothing is known of it.
func (s *Snapshot) Authority(domain facts.Domain, generation int) *StoredAuthority {
	for _, stored := range s.Authorities {
		if stored.Facts.Domain == domain && stored.Facts.Generation == generation {
			return stored
		}
	}
	return nil
}

// PublishedLists are the newest list of each authority that some instance has, by the authority's key.
func (s *Snapshot) PublishedLists() map[string]*x509.RevocationList {
	newest := map[string]*x509.RevocationList{}
	for i := range s.Observed.Parties {
		party := &s.Observed.Parties[i]
		secret := s.Material[party.Name]
		if !party.Kind.AuthenticatesClients || secret == nil {
			continue
		}
		lists, err := pki.ParseRevocationLists(secret.Data[agentapi.RevocationLists])
		if err != nil {
			continue
		}
		for _, list := range lists {
			details := pki.FactsOfRevocationList(list)
			if known := newest[details.IssuerKeyID]; known == nil || pki.FactsOfRevocationList(known).Number < details.Number {
				newest[details.IssuerKeyID] = list
			}
		}
	}
	return newest
}

// IsExternal reports whether a certificate is an anchor from elsewhere.
func (s *Snapshot) IsExternal(domain facts.Domain, fingerprint string) bool {
	return slices.ContainsFunc(s.External, func(a *ExternalAnchor) bool {
		return a.Facts.Domain == domain && a.Facts.Fingerprint == fingerprint
	})
}

// ExternalAnchors are the certificates of a domain's anchors from elsewhere.
func (s *Snapshot) ExternalAnchors(domain facts.Domain) (anchors []*x509.Certificate) {
	for _, a := range s.External {
		if a.Facts.Domain == domain {
			anchors = append(anchors, a.Certificate)
		}
	}
	return anchors
}

// Identity is how the operator connects with the pods; nil until the operator has sound material for the cluster.
func (s *Snapshot) Identity() *evidence.Identity {
	name := desired.OperatorMaterial(s.Cluster.Name)
	party, secret := s.Party(name), s.Material[name]
	if party == nil || secret == nil {
		return nil
	}
	pair, err := pki.ParseKeyPair(secret.Data[agentapi.ClientCertificate], secret.Data[agentapi.ClientKey])
	if err != nil {
		return nil
	}
	anchors, err := pki.ParseBundle(secret.Data[agentapi.ServerBundle])
	if err != nil {
		return nil
	}
	return &evidence.Identity{Certificate: pair.TLS(), Anchors: anchors, Revision: party.Material.Revision}
}

// Claimant is the cluster as kube.Judge wants it.
func (s *Snapshot) Claimant() kube.Claimant {
	return kube.Claimant{Owner: desired.OwnerReference(s.Cluster), Labels: desired.ComponentLabels(s.Cluster.Name, desired.TLSComponent)}
}
