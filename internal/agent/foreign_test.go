package agent

import (
	"crypto/x509"
	"slices"
	"testing"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// elsewhere is a pair by hand: a root without key usage, and a leaf without authority key identifier.
type elsewhere struct{ chain, key, anchor []byte }

func (k *kit) elsewhere(name string, usage x509.ExtKeyUsage) elsewhere {
	root := pkitest.CA(name, pkitest.ByHand, pkitest.Valid(k.start.Add(-day), k.start.Add(1000*day)))
	leaf := root.Leaf(agentapi.ReplicationIdentity, pkitest.ByHand, pkitest.Usages(usage), pkitest.Valid(k.start.Add(-day), k.start.Add(100*day)))
	return elsewhere{leaf.ChainPEM(), leaf.KeyPEM(), root.PEM()}
}

// TestMaterialWithCustomCertificatesByHand: what the process presents may be less than strict where it comes from elsewhere, and
// what the agent itself presents may not. The anchors from elsewhere stand beside the cluster's own and do no harm.
func TestMaterialWithCustomCertificatesByHand(t *testing.T) {
	k := newKit(t, noon)
	server, client := k.elsewhere("servers by hand", x509.ExtKeyUsageServerAuth), k.elsewhere("clients by hand", x509.ExtKeyUsageClientAuth)
	anchors := k.material(usual())
	anchors[agentapi.ServerBundle] = slices.Concat(anchors[agentapi.ServerBundle], server.anchor)
	anchors[agentapi.ClientBundle] = slices.Concat(anchors[agentapi.ClientBundle], client.anchor)
	served := anchors.with(agentapi.ServedCertificate, server.chain).with(agentapi.ServedKey, server.key)
	both := served.with(agentapi.PresentedCertificate, client.chain).with(agentapi.PresentedKey, client.key)
	again := k.elsewhere("servers by hand", x509.ExtKeyUsageServerAuth)
	tests := []struct {
		name   string
		files  material
		reason pki.Reason
	}{
		{"anchors alone", anchors, ""},
		{"served", served, ""},
		{"served and presented", both, ""},
		{"without its anchor", served.with(agentapi.ServerBundle, k.server.EncodeCertificate()), pki.UnknownAuthority},
		{"with another anchor of its name", both.with(agentapi.ServerBundle, append(slices.Clone(both[agentapi.ServerBundle]), again.anchor...)), pki.KeyIdentifierMissing},
		{"as the agent's own", served.with(agentapi.ServerCertificate, server.chain).with(agentapi.ServerKey, server.key), pki.KeyIdentifierMissing},
		{"as the agent's own client", both.with(agentapi.ClientCertificate, client.chain).with(agentapi.ClientKey, client.key), pki.KeyIdentifierMissing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := ParseMaterial(test.files)
			if err == nil {
				err = m.Verify(noon)
			}
			if got := pki.ReasonOf(err); got != test.reason || err != nil && test.reason == "" {
				t.Errorf("reason %q, want %q: %v", got, test.reason, err)
			}
		})
	}
}
