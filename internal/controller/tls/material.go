package tls

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// pairFiles are the keys of a material Secret that hold a domain's leaf.
var pairFiles = map[rotation.Domain]struct{ certificate, key string }{
	rotation.Server: {agentapi.ServerCertificate, agentapi.ServerKey},
	rotation.Client: {agentapi.ClientCertificate, agentapi.ClientKey},
}

// bundleFiles are the keys of a material Secret that hold a domain's bundle.
var bundleFiles = map[rotation.Domain]string{
	rotation.Server: agentapi.ServerBundle,
	rotation.Client: agentapi.ClientBundle,
}

// usages is what a domain's leaves are presented as.
var usages = map[rotation.Domain]pki.Usage{
	rotation.Server: pki.ServerAuth,
	rotation.Client: pki.ClientAuth,
}

// inspect tells what a material Secret is worth to a party that wants these leaves.
func inspect(secret *corev1.Secret, wants []rotation.LeafWant, now time.Time) rotation.Material {
	m := rotation.Material{
		State:    rotation.Present,
		Revision: pki.Revision(secret.Data),
		Answered: secret.Annotations[answeredAnnotation],
	}
	bundles := map[rotation.Domain][]*x509.Certificate{}
	known := append(make([]string, 0, 12), agentapi.RevocationLists)
	for _, domain := range rotation.Domains() {
		known = append(known, bundleFiles[domain])
		anchors, err := pki.ParseBundle(secret.Data[bundleFiles[domain]])
		if err != nil || len(anchors) == 0 {
			continue
		}
		bundles[domain] = anchors
		m.Anchors.Set(domain, fingerprints(anchors))
	}
	for _, want := range wants {
		files := pairFiles[want.Domain]
		known = append(known, files.certificate, files.key)
		m.Leaves = append(m.Leaves, inspectLeaf(secret, want.Domain, bundles[want.Domain], now))
	}
	inspectRevocation(&m, secret, bundles[rotation.Client], now)
	m.Customs = inspectCustoms(secret, wants, bundles, now)
	if hasProcess(wants) {
		for _, files := range processFiles {
			known = append(known, files.certificate, files.key)
		}
	}
	for key := range secret.Data {
		m.Altered = m.Altered || !slices.Contains(known, key)
	}
	return m
}

// inspectLeaf reads one pair and verifies it against the bundle beside it.
func inspectLeaf(secret *corev1.Secret, domain rotation.Domain, anchors []*x509.Certificate, now time.Time) rotation.Leaf {
	files := pairFiles[domain]
	pair, err := pki.ParseKeyPair(secret.Data[files.certificate], secret.Data[files.key])
	if err != nil {
		return rotation.Leaf{Domain: domain, Problem: string(pki.ReasonOf(err))}
	}
	leaf := rotation.Leaf{Domain: domain, CertificateFacts: pki.Facts(pair.Leaf())}
	for _, bridge := range pair.Chain[1:] {
		leaf.Chain = append(leaf.Chain, pki.Facts(bridge).Fingerprint)
	}
	err = pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: anchors, At: now, Usage: usages[domain]})
	if err != nil && len(anchors) > 0 { // a damaged bundle is a fault of its own
		leaf.Problem = string(pki.ReasonOf(err))
	}
	return leaf
}

// generationNamed returns the generation that a certificate's subject or
// issuer names ("CN=hippo server ca g3"), 0 if none.
func generationNamed(cluster string, domain rotation.Domain, name string) int {
	rest, ok := strings.CutPrefix(name, "CN="+authorityCommonName(cluster, domain, ""))
	if !ok {
		return 0
	}
	return parseGeneration(rest)
}

func fingerprints(certificates []*x509.Certificate) []string {
	out := make([]string, len(certificates))
	for i, c := range certificates {
		out[i] = pki.Facts(c).Fingerprint
	}
	slices.Sort(out)
	return out
}
