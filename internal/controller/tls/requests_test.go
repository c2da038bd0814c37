package tls

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
)

// issuedBy has the spec name issuers; "": none.
func issuedBy(server, clients string) func(*v1beta1.PostgresCluster) {
	reference := func(name string) *v1beta1.IssuerReference {
		if name == "" {
			return nil
		}
		return &v1beta1.IssuerReference{Name: name, Kind: "Issuer", Group: "cert-manager.io"}
	}
	return func(c *v1beta1.PostgresCluster) {
		adoption("")(c)
		c.Spec.TLS.Server = &v1beta1.ServerTLSSpec{IssuerRef: reference(server)}
		c.Spec.TLS.Client = &v1beta1.ClientTLSSpec{IssuerRef: reference(clients)}
	}
}

// certificate is a Certificate; nil when there is none.
func (h *fixture) certificate(name string) *unstructured.Unstructured {
	h.t.Helper()
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(certmanager.CertificateGVK)
	err := h.client.Get(h.t.Context(), h.key(name), certificate)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return certificate
}

func field(t *testing.T, certificate *unstructured.Unstructured, path ...string) any {
	t.Helper()
	value, _, err := unstructured.NestedFieldNoCopy(certificate.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestAnIssuerIsAskedForACertificatePerSlot(t *testing.T) {
	h := newFixture(t)
	h.change(issuedBy("company", "clients"))
	h.reconcile()
	for name, want := range map[string]struct {
		issuer, commonName string
		names              []any
	}{
		"hippo-instances-cert": {"company", "hippo-primary", []any{
			"hippo-primary", "hippo-primary.zoo", "hippo-primary.zoo.svc", "hippo-primary.zoo.svc.cluster.local",
			"hippo-replicas", "hippo-replicas.zoo", "hippo-replicas.zoo.svc", "hippo-replicas.zoo.svc.cluster.local"}},
		"hippo-pgbouncer-cert": {"company", "hippo-pgbouncer", []any{
			"hippo-pgbouncer", "hippo-pgbouncer.zoo", "hippo-pgbouncer.zoo.svc", "hippo-pgbouncer.zoo.svc.cluster.local"}},
		"hippo-replication-cert": {"clients", "_pgtlsrepl", nil},
	} {
		certificate := h.certificate(name)
		if certificate == nil {
			t.Errorf("there is no Certificate %s", name)
			continue
		}
		if !metav1.IsControlledBy(certificate, h.cluster()) {
			t.Errorf("%s does not go with its cluster", name)
		}
		got := []any{field(t, certificate, "spec", "issuerRef", "name"), field(t, certificate, "spec", "commonName"), field(t, certificate, "spec", "secretName")}
		if diff := cmp.Diff([]any{want.issuer, want.commonName, name}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		names, _ := field(t, certificate, "spec", "dnsNames").([]any)
		if diff := cmp.Diff(want.names, names); diff != "" {
			t.Errorf("%s: names -want +got:\n%s", name, diff)
		}
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("they are as they should be, and there were writes: %v", writes)
	}
}

func TestWhatTheSpecNoLongerWantsIsTakenBack(t *testing.T) {
	h := newFixture(t)
	h.change(issuedBy("company", "clients"))
	h.reconcile()
	h.change(issuedBy("company", ""))
	h.change(naming(serverSlot, brought)) // in the issuer's place
	h.reconcile()
	if h.certificate("hippo-replication-cert") != nil || h.certificate("hippo-instances-cert") != nil || h.certificate("hippo-pgbouncer-cert") == nil {
		t.Error("the pooler's alone is to stay")
	}
	foreign := h.certificate("hippo-pgbouncer-cert")
	foreign.SetOwnerReferences(nil)
	if err := h.client.Update(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	h.change(issuedBy("", ""))
	h.reconcile()
	if h.certificate("hippo-pgbouncer-cert") == nil {
		t.Error("another owner's was deleted")
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("then there were writes: %v", writes)
	}
}

func TestWalkWhatAnIssuerIssuesIsPresentedLikeAnyOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.change(issuedBy("company", ""))
		h.onTheWay(pods)
		certificate := h.certificate("hippo-instances-cert")
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(snapshot.AwaitingIssuer), "hippo-instances-cert", "company has not issued it yet", "kubectl describe certificate")
		condition := map[string]any{"type": "Issuing", "status": "True", "reason": "Pending", "message": "the order waits for its challenge"}
		if err := unstructured.SetNestedSlice(certificate.Object, []any{condition}, "status", "conditions"); err != nil {
			t.Fatal(err)
		}
		if err := h.client.Update(t.Context(), certificate); err != nil {
			t.Fatal(err)
		}
		result, _ := h.reconcile()
		if result.RequeueAfter == 0 || result.RequeueAfter > retryMax {
			t.Errorf("nothing tells of a Certificate, and it looks again after %s", result.RequeueAfter)
		}
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(snapshot.AwaitingIssuer), "Pending: the order waits for its challenge")
		theirs := company(t, "Company CA")
		pair := h.leafOf(theirs, serverSlot)
		h.put("hippo-instances-cert", filesOf(t, pair, theirs))
		h.onTheWay(pods)
		h.follow()
		h.onTheWay(pods)
		if got := serversOf(pods, pair); !slices.Equal(got, instancePods) {
			t.Errorf("it is presented by %v", got)
		}
		h.wants(serverSlot.Condition, metav1.ConditionTrue, "Presented", "Secret hippo-instances-cert")
	})
}

var noCertManager = &meta.NoKindMatchError{GroupKind: certmanager.CertificateGVK.GroupKind(), SearchedVersions: []string{"v1"}}

func isCertificate(object client.Object) bool {
	u, ok := object.(*unstructured.Unstructured)
	return ok && u.GetKind() == certmanager.CertificateKind
}

func TestWithoutCertManagerTheOwnCertificateIsPresented(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.reading = func(_ client.ObjectKey, object client.Object) error {
			if isCertificate(object) {
				return noCertManager
			}
			return nil
		}
		h.change(issuedBy("company", ""))
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(snapshot.IssuerUnavailable), "Issuer company", "install cert-manager", "pgtls's own certificate is presented")
		if result, _ := h.reconcile(); result.RequeueAfter == 0 || result.RequeueAfter > retryMax {
			t.Errorf("it looks again after %s", result.RequeueAfter)
		}
		h.change(issuedBy("", ""))
		h.onTheWay(pods)
		if c := h.conditionOf(serverSlot.Condition); c.Type != "" {
			t.Errorf("the condition stays: %+v", c)
		}
	})
}

// cert-manager, or its webhook, is none of the cluster's business: nothing else waits for it.
func TestWalkAnIssuerThatCannotBeAskedHoldsUpNothingElse(t *testing.T) {
	webhook := apierrors.NewInternalError(errors.New(`failed calling webhook "webhook.cert-manager.io": connection refused`))
	for name, refusal := range map[string]error{
		"webhook":          webhook,
		"forbidden":        apierrors.NewForbidden(schema.GroupResource{Resource: "certificates"}, "x", errors.New("no")),
		"no longer served": apierrors.NewNotFound(schema.GroupResource{Resource: "certificates"}, "x"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods := hippos(t)
				h.around = func(write string, do func() error) error {
					if write == "apply Certificate" || strings.HasPrefix(write, "create hippo-") && strings.HasSuffix(write, "-cert") {
						return refusal
					}
					return do()
				}
				h.change(issuedBy("company", ""))
				for range 3 {
					h.podActions(pods)
				}
				h.wants(serverSlot.Condition, metav1.ConditionFalse, string(snapshot.AwaitingIssuer), "Certificate hippo-instances-cert", "ApplyCertificate")
				h.request("monday")
				var order []string
				for range 20 {
					for _, name := range h.podActions(pods) {
						order = append(order, name)
						pods[name].install()
					}
				}
				if !slices.Equal(order, inOrder) {
					t.Errorf("renewed meanwhile: %v", order)
				}
				if result, _ := h.reconcile(); result.RequeueAfter == 0 || result.RequeueAfter > retryMax {
					t.Errorf("it looks again after %s", result.RequeueAfter)
				}
				h.around = nil
				h.pass(retryMax)
				h.podActions(pods)
				if h.certificate("hippo-instances-cert") == nil {
					t.Error("it answers again, and was not asked")
				}
			})
		})
	}
}

func TestACertificateThatCannotBeTakenBackIsNotForgotten(t *testing.T) {
	h := newFixture(t)
	h.change(issuedBy("", "clients"))
	h.reconcile()
	h.around = func(write string, do func() error) error {
		if strings.HasPrefix(write, "delete ") {
			return errors.New("not now")
		}
		return do()
	}
	h.change(issuedBy("", ""))
	result, _ := h.reconcile()
	h.wants(replicationSlot.Condition, metav1.ConditionFalse, string(snapshot.AwaitingIssuer), "Certificate hippo-replication-cert", "Unexplained")
	if result.RequeueAfter == 0 || result.RequeueAfter > retryMax {
		t.Errorf("it looks again after %s", result.RequeueAfter)
	}
	h.around = nil
	h.pass(retryMax)
	h.reconcile()
	if h.certificate("hippo-replication-cert") != nil || h.conditionOf(replicationSlot.Condition).Type != "" {
		t.Error("it can be taken back now, and is still there")
	}
}

// An issuer's answer that is there goes on being presented while the issuer cannot be asked for the next.
func TestWalkWhatWasIssuedStaysWhileTheIssuerIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		theirs := company(t, "Company CA")
		pair := h.leafOf(theirs, poolerSlot)
		h.put("hippo-pgbouncer-cert", filesOf(t, pair, theirs))
		h.put("hippo-instances-cert", filesOf(t, pair, theirs))
		h.change(issuedBy("company", ""))
		h.onTheWay(pods)
		h.follow()
		h.onTheWay(pods)
		h.reading = func(_ client.ObjectKey, object client.Object) error {
			if isCertificate(object) {
				return errors.New("timeout")
			}
			return nil
		}
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 5 {
			t.Errorf("it is presented by %v", got)
		}
		h.wants(poolerSlot.Condition, metav1.ConditionTrue, "Presented", "warning: Certificate hippo-pgbouncer-cert", "Unexplained")
		h.delete(h.secret("hippo-instances-cert"))
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(snapshot.AwaitingIssuer), "Unexplained", "the pods keep presenting")
	})
}
