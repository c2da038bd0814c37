package tls

import (
	"crypto/x509"
	"testing"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/rotation"
)

// What several sources bring together has to fit into a bundle that pods take.
func TestABundleHasRoomForSoManyFromElsewhere(t *testing.T) {
	v := &view{cluster: &v1beta1.PostgresCluster{}}
	bring := func(n int) *presented {
		p := &presented{source: "ConfigMap roots"}
		for range n {
			p.anchors = append(p.anchors, authorityOfACompany())
		}
		return p
	}
	admit := func(p *presented) {
		for _, a := range p.anchors {
			v.anchor(rotation.Server, a)
		}
	}
	first := bring(maxForeign - 1)
	if v.crowded(rotation.Server, first) {
		t.Fatalf("%d are refused: %+v", maxForeign-1, first.findings)
	}
	admit(first)
	again := &presented{anchors: append([]*x509.Certificate{}, first.anchors...)}
	if v.crowded(rotation.Server, again) {
		t.Error("those that are there already take no more room")
	}
	if two := bring(2); !v.crowded(rotation.Server, two) || two.findings[0].Reason != custom.TooLarge || two.findings[0].Severity != custom.Refuse {
		t.Errorf("one too many is taken: %+v", two.findings)
	}
	if v.crowded(rotation.Client, bring(2)) {
		t.Error("the other domain has a bundle of its own")
	}
	if one := bring(1); v.crowded(rotation.Server, one) {
		t.Errorf("the last one is refused: %+v", one.findings)
	}
}
