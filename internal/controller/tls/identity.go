package tls

import (
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// identity returns nil until the operator has sound material for the cluster.
func (r *Reconciler) identity(v *view) *evidence.Identity {
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
		return &evidence.Identity{Certificate: pair.TLS(), Anchors: anchors, Revision: party.Material.Revision}
	}
	return nil
}
