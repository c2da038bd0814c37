package tls

import (
	"crypto/tls"
	"crypto/x509"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// identity is who the operator is towards a cluster's pods, and whom it trusts there.
type identity struct {
	certificate tls.Certificate
	anchors     []*x509.Certificate
	revision    string
}

// identity returns nil until the operator has sound material for the cluster.
func (r *Reconciler) identity(v *view) *identity {
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		if party.Kind != rotation.Operator {
			continue
		}
		secret := v.material[party.Name]
		if secret == nil {
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
		return &identity{certificate: tlsCertificate(pair), anchors: anchors, revision: party.Material.Revision}
	}
	return nil
}

func tlsCertificate(pair *pki.KeyPair) tls.Certificate {
	out := tls.Certificate{PrivateKey: pair.Key, Leaf: pair.Leaf()}
	for _, c := range pair.Chain {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out
}
