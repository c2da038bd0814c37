package act

import (
	"crypto/x509"
	"slices"
	"testing"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/snapshottest"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/rotation"
)

func TestCertificatesByHandArePublished(t *testing.T) {
	root := tlstest.NewByHand(t, snapshottest.NewTwoGenerations(t).Snapshot.Observed.Now, "root by hand")
	for name, c := range map[string]struct {
		loaded  []*x509.Certificate // by a pod, besides the cluster's own
		step    rotation.Step
		refused bool
	}{
		"own, who holds both":     {[]*x509.Certificate{root.Certificate}, rotation.Step{Party: "db-tls", Reissue: []rotation.Domain{rotation.Server}}, false},
		"by hand, who holds both": {[]*x509.Certificate{root.Certificate}, rotation.Step{Party: "db-tls", Adopt: []rotation.Domain{rotation.Server}}, false},
		"by hand, who does not":   {nil, rotation.Step{Party: "db-tls", Adopt: []rotation.Domain{rotation.Server}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := snapshottest.NewTwoGenerations(t)
			g.Snapshot.Cluster = &v1beta1.PostgresCluster{}
			g.Snapshot.Foreign = append(g.Snapshot.Foreign, &snapshot.ForeignAnchor{Certificate: root.Certificate, Facts: rotation.Anchor{Domain: rotation.Server, Fingerprint: root.Fingerprint()}})
			g.Loaded(material.Fingerprints(append(slices.Clone(c.loaded), g.By.Certificate))...)
			_, err := accepted(&(&Executor{}).Begin(g.Snapshot, rotation.Plan{}).round, c.step, g.Served(t, root.Issue(x509.ExtKeyUsageServerAuth), root.Certificate))
			if (err != nil) != c.refused {
				t.Errorf("%v", err)
			}
		})
	}
}
