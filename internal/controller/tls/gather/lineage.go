package gather

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// namedGenerations are the certificates in a cluster's bundles that are named like authorities of its own, by generation.
type namedGenerations map[facts.Domain]map[int]*x509.Certificate

// generationsNamed looks into every bundle of the cluster, also of parties which are no longer wanted.
func generationsNamed(v *look) namedGenerations {
	secrets := slices.Clone(v.secrets)
	for _, secret := range v.Material {
		secrets = append(secrets, *secret)
	}
	named := namedGenerations{}
	for _, domain := range facts.Domains() {
		named[domain] = map[int]*x509.Certificate{}
		for i := range secrets {
			if !kube.Judge(&secrets[i], v.Claimant()).Belongs() {
				continue
			}
			anchors, err := v.bundles.parse(secrets[i].Data[party.Mounted.Bundle(domain)])
			if err != nil {
				continue
			}
			for _, anchor := range anchors {
				details := pki.Facts(anchor)
				if n := material.GenerationNamed(v.Cluster.Name, domain, details.Subject); n > 0 && !v.IsExternal(domain, details.Fingerprint) {
					named[domain][n] = anchor
				}
			}
		}
	}
	for _, anchor := range v.public {
		if n := material.GenerationNamed(v.Cluster.Name, facts.Server, pki.Facts(anchor).Subject); n > 0 && named[facts.Server][n] == nil {
			named[facts.Server][n] = anchor
		}
	}
	return named
}

func (n namedGenerations) highest() map[facts.Domain]int {
	seen := map[facts.Domain]int{}
	for domain, generations := range n {
		for generation := range generations {
			seen[domain] = max(seen[domain], generation)
		}
	}
	return seen
}

// addLost adds the authorities whose Secret is gone or garbled and that are in use: they cannot sign, and are to be trusted
// on until nothing uses them. That the last leaf of one was published anew does not mean that no pod serves its old one: what
// the operator itself trusts is trusted until it is dropped. Any other certificate in a bundle is no authority of the cluster.
func addLost(v *look, named namedGenerations, secrets []corev1.Secret) {
	issuers := sync.OnceValue(func() map[string]bool { return issuersOf(secrets) }) // which parses every key
	for _, domain := range facts.Domains() {
		for generation, certificate := range named[domain] {
			details := pki.Facts(certificate)
			if !operatorTrusts(v, domain, certificate) && !slices.ContainsFunc(v.public, certificate.Equal) && !issuers()[details.KeyID] {
				continue
			}
			stored := v.Authority(domain, generation)
			switch {
			case stored == nil:
				v.Authorities = append(v.Authorities, &snapshot.StoredAuthority{Certificate: certificate, Facts: facts.Authority{
					Domain: domain, Generation: generation, Certificate: details, Problem: reason.AuthorityLost,
					Message: fmt.Sprintf("the Secret of the %s authority g%d is gone: what is served goes on being served, and a new authority takes its place", domain, generation),
				}})
			case stored.Certificate == nil && stored.Facts.Problem == reason.AuthorityUnreadable:
				stored.Certificate, stored.Facts.Certificate = certificate, details
			}
		}
	}
	slices.SortFunc(v.Authorities, func(a, b *snapshot.StoredAuthority) int {
		if order := strings.Compare(string(a.Facts.Domain), string(b.Facts.Domain)); order != 0 {
			return order
		}
		return a.Facts.Generation - b.Facts.Generation
	})
}

// issuersOf are the keys by which the leaves in Secrets were issued.
func issuersOf(secrets []corev1.Secret) map[string]bool {
	issuers := map[string]bool{}
	for i := range secrets {
		for _, leaf := range material.Leftovers(&secrets[i]) {
			issuers[leaf.IssuerKeyID] = true
		}
	}
	return issuers
}

// operatorTrusts reports whether a certificate is in the bundle of the operator's own material.
func operatorTrusts(v *look, domain facts.Domain, certificate *x509.Certificate) bool {
	secret := v.Material[desired.OperatorMaterial(v.Cluster.Name)]
	if secret == nil {
		return false
	}
	anchors, err := v.bundles.parse(secret.Data[party.Mounted.Bundle(domain)])
	return err == nil && slices.ContainsFunc(anchors, certificate.Equal)
}

// index notes the certificates of an authority by fingerprint.
func index(s *snapshot.StoredAuthority, certificates map[string]*x509.Certificate) {
	for _, c := range []*x509.Certificate{s.Certificate, s.Forward, s.Backward, s.Older} {
		if c != nil {
			certificates[pki.Facts(c).Fingerprint] = c
		}
	}
}
