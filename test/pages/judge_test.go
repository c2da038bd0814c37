//go:build envtest

package pages

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/custom"
)

// renewBefore is what is asked for of a new certificate: it must not be due soon.
const renewBefore = 7 * 24 * time.Hour

// judge checks each Secret that the cluster names as the operator does, and notes which certificate it holds. Nothing may be found
// in it, not even a warning, but what the page says.
func (r *reader) judge(t *testing.T, place string) {
	t.Helper()
	cluster := &v1beta1.PostgresCluster{}
	get(t, clusterName, cluster)
	server := v1beta1.ServerTLSSpec{}
	if cluster.Spec.TLS != nil && cluster.Spec.TLS.Server != nil {
		server = *cluster.Spec.TLS.Server
	}
	for _, slot := range slotsOf(cluster, server) {
		if slot.projection == nil {
			continue
		}
		certificate, findings := custom.Check(r.inputFor(t, slot, server))
		for _, finding := range findings {
			if finding.Severity == custom.Refuse || !strings.Contains(r.warnings, string(finding.Reason)) {
				t.Errorf("%s, for %s: %s %s: %s", place, slot.name, finding.Severity, finding.Reason, finding.Message)
			}
		}
		if certificate != nil {
			r.note(slot.name, certificate.Pair.Leaf())
		}
	}
}

func (r *reader) note(place string, leaf *x509.Certificate) {
	if r.seen[place] == nil {
		r.seen[place] = map[string]bool{}
	}
	r.seen[place][leaf.SerialNumber.String()] = true
}

type slot struct {
	name       string
	role       custom.Role
	projection *corev1.SecretProjection
	names      []string // hosts that clients are given
	others     []string
}

func slotsOf(cluster *v1beta1.PostgresCluster, server v1beta1.ServerTLSSpec) []slot {
	host := func(service string) string { return clusterName + "-" + service + "." + namespace + ".svc" }
	instance := slot{"server", custom.Instance, cluster.Spec.CustomTLSSecret, []string{host("primary")}, []string{host("replicas")}}
	if server.Instances != nil && len(server.Instances.DNSNames) > 0 {
		instance.names, instance.others = server.Instances.DNSNames, append(instance.names, instance.others...)
	}
	return []slot{
		instance,
		{"replication", custom.Replication, cluster.Spec.CustomReplicationTLSSecret, nil, nil},
		{"pgBouncer", custom.Pooler, cluster.Spec.Proxy.PGBouncer.CustomTLSSecret, []string{host("pgbouncer")}, nil},
	}
}

func (r *reader) inputFor(t *testing.T, s slot, server v1beta1.ServerTLSSpec) custom.Input {
	t.Helper()
	secret := &corev1.Secret{}
	get(t, s.projection.Name, secret)
	input := custom.Input{
		Role: s.role, Source: "Secret " + secret.Name, Data: secret.Data, Names: s.names, OtherNames: s.others,
		Identities: agentapi.ReplicationNames(), RenewBefore: renewBefore, Now: time.Now(),
	}
	if s.role == custom.Instance && server.SystemRoots {
		input.SystemRoots = r.systemRoots
	}
	for _, source := range server.AdditionalTrust {
		input.Trust = append(input.Trust, trustIn(t, source)...)
	}
	return input
}

func trustIn(t *testing.T, source v1beta1.TrustSource) []*x509.Certificate {
	t.Helper()
	bundle := &corev1.ConfigMap{}
	get(t, source.ConfigMap.Name, bundle)
	anchors, findings := custom.CheckBundle("ConfigMap "+bundle.Name, source.ConfigMap.Key, []byte(bundle.Data[source.ConfigMap.Key]), time.Now())
	for _, finding := range findings {
		t.Errorf("ConfigMap %s: %s: %s", bundle.Name, finding.Reason, finding.Message)
	}
	return anchors
}

func get(t *testing.T, name string, object client.Object) {
	t.Helper()
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
}
