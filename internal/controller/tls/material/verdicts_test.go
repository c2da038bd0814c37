package material

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// A verdict is worth what a fresh inspection is, at whatever time, version and want.
func TestAVerdictSaysWhatAnInspectionSays(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	world := agenttest.NewAuthorities(t, tlstest.Hippo.Name, now)
	leaf := world.Leaf(t, facts.Server, "hippo-a-0", tlstest.PodHost)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "hippo-a-0-tls", UID: "one", ResourceVersion: "1"},
		Data:       world.Material(t, leaf, world.Leaf(t, facts.Client, agentapi.ReplicationIdentity)),
	}
	both := &facts.Party{Kind: party.Instance, Wants: []facts.LeafWant{{Domain: facts.Server}, {Domain: facts.Client}}}
	clientOnly := &facts.Party{Kind: party.Operator, Wants: []facts.LeafWant{{Domain: facts.Client}}}
	verdicts := NewVerdicts()
	problem := func(party *facts.Party, secret *corev1.Secret, at time.Time) string {
		t.Helper()
		got, want := verdicts.Inspect(tlstest.Hippo, party, secret, at), Inspect(party, secret, at)
		if len(got.Leaves) != len(want.Leaves) || got.Leaves[0].Problem != want.Leaves[0].Problem || got.Altered != want.Altered {
			t.Errorf("at %s: %+v, want %+v", at, got.Leaves, want.Leaves)
		}
		return want.Leaves[0].Problem
	}
	end := leaf.Leaf().NotAfter
	for _, at := range []time.Time{now, now.Add(time.Minute), end.Add(-time.Second), end, end.Add(time.Nanosecond), end.Add(time.Hour), now, leaf.Leaf().NotBefore.Add(-time.Second)} {
		problem(both, secret, at)
	}
	if problem(both, secret, now) != "" || problem(both, secret, end.Add(time.Hour)) == "" {
		t.Error("the leaf does not end: this shows nothing")
	}
	problem(clientOnly, secret, now)
	problem(both, secret, now)
	damaged := secret.DeepCopy()
	damaged.ResourceVersion, damaged.Data[agentapi.ServerCertificate] = "2", []byte("x")
	if problem(both, damaged, now) == "" {
		t.Error("a damaged leaf is sound: this shows nothing")
	}
	other := secret.DeepCopy()
	other.UID, other.ResourceVersion = "two", "2"
	problem(both, other, now)
}

func TestVerdictsAreForgotten(t *testing.T) {
	verdicts, party := NewVerdicts(), &facts.Party{Kind: party.Operator}
	for _, name := range []string{"a", "b"} {
		verdicts.Inspect(tlstest.Hippo, party, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "1", ResourceVersion: "1"}}, time.Now())
	}
	verdicts.KeepOnly(tlstest.Hippo, []corev1.Secret{{ObjectMeta: metav1.ObjectMeta{Name: "b"}}})
	if kept := verdicts.clusters[tlstest.Hippo]; len(kept) != 1 || kept["b"].uid != "1" {
		t.Errorf("kept %v", kept)
	}
	if verdicts.KeepOnly(tlstest.Hippo, nil); len(verdicts.clusters) > 0 {
		t.Error("a cluster that is gone is remembered")
	}
}
