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
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

func TestCertificatesByHandArePublished(t *testing.T) {
	root := tlstest.NewByHand(t, snapshottest.NewTwoGenerations(t).Snapshot.Observed.Now, "root by hand")
	for name, c := range map[string]struct {
		loaded  []*x509.Certificate // by a pod, besides the cluster's own
		step    plan.Publish
		refused bool
	}{
		"own, with both":     {[]*x509.Certificate{root.Certificate}, plan.Publish{Party: "db-tls", Reissue: []facts.Domain{facts.Server}}, false},
		"by hand, with both": {[]*x509.Certificate{root.Certificate}, plan.Publish{Party: "db-tls", Adopt: []facts.Domain{facts.Server}}, false},
		"by hand, with one":  {nil, plan.Publish{Party: "db-tls", Adopt: []facts.Domain{facts.Server}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := snapshottest.NewTwoGenerations(t)
			g.Snapshot.Cluster = &v1beta1.PostgresCluster{}
			g.Snapshot.External = append(g.Snapshot.External, &snapshot.ExternalAnchor{Certificate: root.Certificate, Facts: facts.Anchor{Domain: facts.Server, Fingerprint: root.Fingerprint()}})
			g.Loaded(material.Fingerprints(append(slices.Clone(c.loaded), g.By.Certificate))...)
			_, err := accepted(&(&Executor{}).Begin(g.Snapshot).round, c.step, g.Served(t, root.Issue(x509.ExtKeyUsageServerAuth), root.Certificate))
			if (err != nil) != c.refused {
				t.Errorf("%v", err)
			}
		})
	}
}
