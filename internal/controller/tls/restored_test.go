package tls

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// orphaned takes the owner away from everything, as kubectl delete --cascade=orphan does, and a restore from a backup.
func (h *fixture) orphaned() {
	h.t.Helper()
	for name := range h.stored() {
		h.damage(name, func(s *corev1.Secret) { s.OwnerReferences = nil })
	}
	var config corev1.ConfigMap
	if err := h.client.Get(h.t.Context(), h.key("hippo-ca"), &config); err != nil {
		h.t.Fatal(err)
	}
	config.OwnerReferences = nil
	if err := h.client.Update(h.t.Context(), &config); err != nil {
		h.t.Fatal(err)
	}
}

func TestOrphansAreTakenBackAsTheyAre(t *testing.T) {
	h := newFixture(t)
	h.change(withCertificates("alice"))
	h.reconcile()
	before := h.stored()
	h.orphaned()
	h.restart()
	h.reconcile()
	after := h.stored()
	for name, secret := range before {
		if !cmp.Equal(secret.Data, after[name].Data) || !metav1.IsControlledBy(after[name], h.cluster()) {
			t.Errorf("%s: owners %v, data as before: %v", name, after[name].OwnerReferences, cmp.Equal(secret.Data, after[name].Data))
		}
	}
	if len(after) != len(before) {
		t.Errorf("Secrets = %v", tlstest.SortedKeys(after))
	}
	if told := eventsOf(h.events(), "TakenBack"); len(told) != len(before)+1 { // and the ConfigMap
		t.Errorf("events = %v", told)
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("then there were writes: %v", writes)
	}
}

// Of an authority certificate, key and generation must agree: what is labelled by hand is not the cluster's.
func TestAnAuthorityIsTakenBackOnlyWhenItsContentAgrees(t *testing.T) {
	for name, damage := range map[string]func(*corev1.Secret, *corev1.Secret){
		"of another generation": func(s, other *corev1.Secret) { s.Data = other.Data },
		"key of another":        func(s, other *corev1.Secret) { s.Data[material.AuthorityKey] = other.Data[material.AuthorityKey] },
		"nothing":               func(s, _ *corev1.Secret) { s.Data = nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			h.reconcile()
			h.orphaned()
			other := h.secret("hippo-client-ca-g1")
			for _, place := range []string{"hippo-server-ca-g1", "hippo-server-ca-g1-copy"} {
				secret := h.secret(place)
				damage(secret, other)
				h.replace(place, secret.Data)
			}
			h.restart()
			h.reconcile()
			if h.secret("hippo-server-ca-g1").OwnerReferences != nil {
				t.Error("it was taken back")
			}
			blockers := h.cluster().Status.TLS.Blockers
			if !slices.ContainsFunc(blockers, func(b v1beta1.BlockerStatus) bool { return b.Reason == string(reason.AuthorityForeign) }) {
				t.Errorf("blockers = %+v", blockers)
			}
		})
	}
}

// Secrets of before a re-key come back while the pods serve what came after it: the newest evidence wins. What was retired is not
// trusted again, and what is served goes on being served and accepted.
func TestWalkAnOldBackupBringsNoRetiredAuthorityBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		backup := h.stored()
		h.change(soaking("0s"))
		h.annotate(material.RotateRequestAnnotation, "server:1")
		h.converge(pods)
		if stored := h.stored(); stored["hippo-server-ca-g2"] == nil || stored["hippo-server-ca-g1"] != nil {
			t.Fatalf("Secrets = %v", tlstest.SortedKeys(stored))
		}
		for name := range h.stored() {
			h.delete(h.secret(name))
		}
		for _, secret := range backup {
			restored := secret.DeepCopy()
			restored.OwnerReferences, restored.ResourceVersion, restored.UID = nil, "", ""
			if err := h.client.Create(t.Context(), restored); err != nil {
				t.Fatal(err)
			}
		}
		h.restart()
		h.converge(pods)
		h.everybodyIsAccepted(pods)
		retired := string(backup["hippo-server-ca-g1"].Data[material.AuthorityCertificate])
		for name, secret := range h.stored() {
			if strings.Contains(string(secret.Data[agentapi.ServerBundle]), retired) {
				t.Errorf("%s: the retired authority is trusted again", name)
			}
		}
		if strings.Contains(h.public(), retired) {
			t.Error("the retired authority is in the clients' bundle again")
		}
		if blockers := h.cluster().Status.TLS.Blockers; !slices.ContainsFunc(blockers, func(b v1beta1.BlockerStatus) bool { return b.Reason == string(reason.AuthorityLost) }) {
			t.Errorf("blockers = %+v", blockers)
		}
	})
}

// converge lets pods take what they are asked to use, until nothing is left to do.
func (h *fixture) converge(pods map[string]*simPod) {
	h.t.Helper()
	for range 60 {
		for _, name := range h.podActions(pods) {
			pods[name].install()
		}
		h.pass(retryMax)
	}
}
