package act

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// publish writes a party's material and reads it back into the view, so that
// the steps that follow see what was really stored.
func publish(ctx context.Context, v *round, step plan.Publish) error {
	party := v.Party(step.Party)
	data, err := materialData(v, party, step)
	if err != nil {
		return err
	}
	proof, err := accepted(v, step, data)
	if err != nil {
		return err
	}
	if party.Kind.InLedger {
		if err := noteIssued(ctx, v, party, step, data); err != nil {
			return err
		}
	}
	secret := secret(v, party.Name, data)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, material.RevisionAnnotation, pki.Revision(data))
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, material.AnsweredAnnotation, answered(v, party, step))
	if party.User != "" {
		secret.Labels[material.ApplicationLabel] = party.User
	}
	if err := store(ctx, v, secret, proof); err != nil {
		return err
	}
	v.Unstored.stored(v.key(party))
	party.Material = v.Verdicts.Inspect(clusterOf(v), party, secret, v.Observed.Now)
	v.Material[party.Name] = secret
	for _, domain := range step.Reissue {
		for _, leaf := range party.Material.Leaves {
			if leaf.Domain == domain {
				v.Issued.add(clusterOf(v), "%s leaf %s of %s, valid until %s (%s)",
					domain, leaf.Serial, party.Name, leaf.NotAfter.Format(material.TimeLayout), step.Reason)
			}
		}
	}
	return nil
}

// answered is the renew request that material answers: only a fresh leaf in every domain does.
func answered(v *round, party *facts.Party, step plan.Publish) string {
	if len(step.Reissue) == len(party.Wants) {
		return v.Policy.RenewRequest
	}
	return party.Material.Answered
}

// materialData is the whole content of a material Secret: what is reissued, and what is kept.
func materialData(v *round, party *facts.Party, step plan.Publish) (map[string][]byte, error) {
	data := map[string][]byte{}
	old, files := v.Material[party.Name], &party.Kind.Files
	if party.Kind.AuthenticatesClients {
		if err := addRevocation(v, step, data, old); err != nil {
			return nil, err
		}
	}
	for _, domain := range facts.Domains() {
		if !party.Kind.Verifies(domain) {
			continue
		}
		bundle, err := bundle(v, domain, step.Anchors.Of(domain))
		switch {
		case err != nil:
			return nil, err
		case bundle == nil && old != nil:
			bundle = old.Data[files.Bundle(domain)]
		}
		data[files.Bundle(domain)] = bundle
	}
	for _, want := range party.Wants {
		leaf, process := files.Leaf(want.Domain), files.Process(want.Domain)
		pair, err := pairFor(v, old, leaf, want, step)
		if err != nil {
			return nil, fmt.Errorf("making the %s leaf of %s: %w", want.Domain, party.Name, err)
		}
		data[leaf.Certificate], data[leaf.Key] = pair.certificate, pair.key
		if process.Certificate == "" {
			continue
		}
		if pair, err = processPair(v, party, want.Domain, step, pair); err != nil {
			return nil, fmt.Errorf("taking the custom %s certificate of %s: %w", want.Domain, party.Name, err)
		}
		data[process.Certificate], data[process.Key] = pair.certificate, pair.key
	}
	return data, nil
}

// pair is a chain and a key as they are stored.
type pair struct{ certificate, key []byte }

// pairFor issues a leaf, or keeps the one that there is, with the bridges of today.
func pairFor(v *round, old *corev1.Secret, files party.Pair, want facts.LeafWant, step plan.Publish) (pair, error) {
	var keys *pki.KeyPair
	var err error
	if slices.Contains(step.Reissue, want.Domain) || old == nil {
		keys, err = issue(v, want, step.Active.Of(want.Domain))
	} else {
		if keys, err = pki.ParseKeyPair(old.Data[files.Certificate], old.Data[files.Key]); err != nil {
			return pair{old.Data[files.Certificate], old.Data[files.Key]}, nil // damaged, and no authority can issue another: no pod will take it
		}
	}
	if err != nil {
		return pair{}, err
	}
	if keys.Chain, err = chain(v, keys.Leaf(), step.Chain.Of(want.Domain)); err != nil {
		return pair{}, err
	}
	key, err := keys.EncodeKey()
	if err != nil {
		return pair{}, fmt.Errorf("encoding the key: %w", err)
	}
	return pair{keys.EncodeChain(), key}, nil
}

// issue makes a leaf with a fresh key. It ends no later than its authority.
func issue(v *round, want facts.LeafWant, generation int) (*pki.KeyPair, error) {
	signer, err := signer(v, want.Domain, generation)
	if err != nil {
		return nil, err
	}
	addresses := make([]netip.Addr, 0, len(want.IPs))
	for _, text := range want.IPs {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("reading address %q: %w", text, err)
		}
		addresses = append(addresses, address)
	}
	notAfter := v.Observed.Now.Add(want.Life)
	if end := signer.Authority.Certificate.NotAfter; notAfter.After(end) {
		notAfter = end
	}
	return signer.Authority.Issue(pki.LeafRequest{
		CommonName: want.CommonName, DNSNames: want.DNSNames, IPAddresses: addresses,
		Usage: want.Domain.Usage(), Algorithm: want.Algorithm,
		NotBefore: v.Observed.Now.Add(-wanted.Backdate(want.Life)), NotAfter: notAfter,
	})
}

// custom returns what is to be presented by a party in a domain; nil: its own leaf.
func custom(v *round, party *facts.Party, domain facts.Domain) *snapshot.Presented {
	for _, p := range v.Customs {
		if p.Slot.Kind == party.Kind && p.Slot.Domain == domain && p.Pair != nil {
			return p
		}
	}
	return nil
}

// processPair is what a party's process is to present after a step: a custom certificate, or the party's own leaf.
func processPair(v *round, party *facts.Party, domain facts.Domain, step plan.Publish, own pair) (pair, error) {
	if slices.Contains(step.Adopt, domain) {
		if p := custom(v, party, domain); p != nil {
			key, err := p.Pair.EncodeKey()
			if err != nil {
				return pair{}, fmt.Errorf("encoding the key of %s: %w", p.Source, err)
			}
			return pair{p.Pair.EncodeChain(), key}, nil
		}
		return pair{}, errNotAtHand
	}
	for _, have := range party.Material.Customs {
		if have.Domain == domain && !slices.Contains(step.Own, domain) {
			old, files := v.Material[party.Name], party.Kind.Files.Process(domain)
			return pair{old.Data[files.Certificate], old.Data[files.Key]}, nil
		}
	}
	return own, nil
}

// signer returns a generation that signs.
func signer(v *round, domain facts.Domain, generation int) (*snapshot.StoredAuthority, error) {
	stored := v.Authority(domain, generation)
	if stored == nil || stored.Authority == nil {
		return nil, fmt.Errorf("finding the %s authority g%d: %w", domain, generation, errNoSigner)
	}
	return stored, nil
}

// bundle is what every verifier of a domain is to hold, the cluster's own newest first; nil: what it holds is to be kept.
func bundle(v *round, domain facts.Domain, fingerprints []string) ([]byte, error) {
	if fingerprints == nil {
		return nil, nil
	}
	var anchors []*x509.Certificate
	for _, stored := range slices.Backward(v.Authorities) { // by generation
		if stored.Facts.Domain == domain && slices.Contains(fingerprints, stored.Facts.Certificate.Fingerprint) {
			anchors = append(anchors, stored.Certificate)
		}
	}
	for _, a := range v.External {
		if a.Facts.Domain == domain && slices.Contains(fingerprints, a.Facts.Fingerprint) {
			anchors = append(anchors, a.Certificate)
		}
	}
	if len(anchors) != len(fingerprints) {
		return nil, fmt.Errorf("collecting the %s bundle: %w", domain, errNotAtHand)
	}
	return pki.EncodeBundle(anchors), nil
}

// chain is a leaf with the bridges that go with it.
func chain(v *round, leaf *x509.Certificate, bridges []string) ([]*x509.Certificate, error) {
	chain := []*x509.Certificate{leaf}
	for _, fingerprint := range bridges {
		bridge := v.Known[fingerprint]
		if bridge == nil {
			return nil, fmt.Errorf("building a chain: %w", errNotAtHand)
		}
		chain = append(chain, bridge)
	}
	return chain, nil
}
