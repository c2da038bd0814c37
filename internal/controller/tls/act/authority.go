package act

import (
	"context"
	"crypto/x509"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// createAuthority makes a generation and stores it. It only ever creates: a
// second key for a generation cannot come to be.
func createAuthority(ctx context.Context, v *round, step plan.TrustNew) error {
	policy := v.Policy.Authorities[step.Domain]
	generation := strconv.Itoa(step.Generation)
	authority, err := pki.NewAuthority(pki.AuthorityRequest{
		CommonName: material.AuthorityCommonName(v.Cluster.Name, step.Domain, generation),
		Algorithm:  policy.Algorithm,
		NotBefore:  v.Observed.Now.Add(-wanted.AuthorityBackdate),
		NotAfter:   v.Observed.Now.Add(policy.Life),
	})
	if err != nil {
		return fmt.Errorf("making the %s authority g%d: %w", step.Domain, step.Generation, err)
	}
	key, err := authority.EncodeKey()
	if err != nil {
		return fmt.Errorf("encoding the key of the %s authority g%d: %w", step.Domain, step.Generation, err)
	}
	data := map[string][]byte{material.AuthorityCertificate: authority.EncodeCertificate(), material.AuthorityKey: key}
	if step.Bridged {
		if err := addBridges(v, step, authority, data); err != nil {
			return err
		}
	}
	secret := authoritySecret(v, step.Domain, step.Generation, data)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, material.AnswersAnnotation, v.Policy.Rekey[step.Domain].Request)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, material.RollbackSeenAnnotation, v.Policy.Rekey[step.Domain].Rollback)
	if err := create(ctx, v, secret); err != nil {
		return err
	}
	v.Issued.add(clusterOf(v), "the %s authority g%d was made, valid until %s (%s)", step.Domain, step.Generation,
		authority.Certificate.NotAfter.UTC().Format(material.TimeLayout), step.Reason)
	if step.Message != "" { // which clients are refused, and that it cannot be helped
		v.Events.Eventf(v.Cluster, nil, eventWarning, string(step.Reason), rekeyAction[step.Domain], "%s", step.Message)
	}
	return nil
}

// rekeyAction tells the domains' events of one reason apart: those that differ in their text alone count as one.
var rekeyAction = map[facts.Domain]string{facts.Server: "RekeyServer", facts.Client: "RekeyClient"}

// backBridgeLife bounds how long the old authority can be vouched for by the new one: a bridge cannot be called back.
const backBridgeLife = 24 * time.Hour

// addBridges has the authority that signs and the new one vouch for each other. They are stored with the new one's key: made
// once, and never again.
func addBridges(v *round, step plan.TrustNew, authority *pki.Authority, data map[string][]byte) error {
	old, err := signer(v, step.Domain, step.Active)
	if err != nil {
		return err
	}
	from, until := v.Observed.Now.Add(-wanted.AuthorityBackdate), old.Certificate.NotAfter
	forward, err := old.Authority.Bridge(pki.BridgeRequest{Subject: authority.Certificate, NotBefore: from, NotAfter: until})
	if err != nil {
		return fmt.Errorf("signing the bridge to g%d: %w", step.Generation, err)
	}
	backward, err := authority.Bridge(pki.BridgeRequest{Subject: old.Certificate, NotBefore: from, NotAfter: v.Observed.Now.Add(backBridgeLife)})
	if err != nil {
		return fmt.Errorf("signing the bridge back from g%d: %w", step.Generation, err)
	}
	path := []*x509.Certificate{forward}
	if old.Forward != nil {
		path = append(path, old.Forward) // its Secret will be gone before a client that copied the one before stops needing it
	}
	data[material.ForwardBridge] = pki.EncodeBundle(path)
	data[material.BackwardBridge] = pki.EncodeBundle([]*x509.Certificate{backward})
	return nil
}

// authoritySecret is one of the two Secrets of an authority. Nothing holds it: its twin is stored, and the operator remembers it.
func authoritySecret(v *round, domain facts.Domain, generation int, data map[string][]byte) *corev1.Secret {
	immutable := true
	secret := secret(v, desired.AuthoritySecret(v.Cluster.Name, string(domain), generation), data)
	secret.Labels[material.DomainLabel] = string(domain)
	secret.Labels[material.GenerationLabel] = strconv.Itoa(generation)
	secret.Immutable = &immutable
	return secret
}
