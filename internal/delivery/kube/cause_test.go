package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func forbidden(text string) error {
	return apierrors.NewForbidden(corev1.Resource("pods"), "hippo-00-0-0", errors.New(text))
}

func invalid(list ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "hippo-primary", list)
}

func terminating() error {
	err := apierrors.NewForbidden(corev1.Resource("secrets"), "x", errors.New("unable to create new content in namespace zoo because it is being terminated"))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
	return err
}

func refusedConnection(port int) error {
	return &url.Error{Op: "Patch", URL: "https://10.0.0.1:443/api", Err: &net.OpError{Op: "read", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port}, Err: errors.New("connection reset by peer")}}
}

// The texts are those of Kubernetes 1.34.
func TestCauseOf(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		want   Cause
		detail string
	}{
		{"quota of Secrets", forbidden("exceeded quota: few, requested: secrets=1, used: secrets=7, limited: secrets=7"), QuotaExceeded, "few: secrets"},
		{"quota of two fields", forbidden("exceeded quota: few, requested: limits.memory=2Gi,limits.cpu=1, used: limits.cpu=2,limits.memory=0, limited: limits.cpu=2,limits.memory=1Gi"), QuotaExceeded, "few: limits.cpu, limits.memory"},
		{"quota wants limits", forbidden("failed quota: few: must specify limits.cpu for: agent,database; limits.memory for: database"), QuotaUnspecified, "few: limits.cpu, limits.memory"},
		{"limit range", forbidden("maximum cpu usage per Container is 1, but limit is 2"), LimitRangeViolated, "maximum cpu per Container"},
		{"webhook", apierrors.NewForbidden(corev1.Resource("secrets"), "x", errors.New(`admission webhook "no.example.org" denied the request: request 7f3a`)), AdmissionDenied, "webhook no.example.org"},
		{"policy", invalid(field.Invalid(nil, nil, "ValidatingAdmissionPolicy 'no-secrets' with binding 'b' denied request: failed expression: false")), AdmissionDenied, "ValidatingAdmissionPolicy no-secrets"},
		{"pod security", forbidden(`violates PodSecurity "restricted:latest": hostPath`), AdmissionDenied, "PodSecurity restricted:latest"},
		{"another plugin", forbidden("not today"), AdmissionDenied, ""},
		{"webhook is away", apierrors.NewInternalError(errors.New(`failed calling webhook "no.example.org": Post "https://10.1.2.3:443/": dial tcp 10.1.2.3:443: connect: connection refused`)), AdmissionUnavailable, "webhook no.example.org"},
		{"a verb is missing", forbidden(`User "system:serviceaccount:pgtls-system:pgtls-operator" cannot create resource "statefulsets" in API group "apps" in the namespace "zoo"`), Forbidden, "create statefulsets.apps"},
		{"a verb is missing in the core group", forbidden(`User "x" cannot patch resource "secrets" in API group "" in the namespace "zoo"`), Forbidden, "patch secrets"},
		{"more than it has itself", forbidden(`user "x" (groups=["y"]) is attempting to grant RBAC permissions not currently held:`), Forbidden, "to grant what it does not have itself"},
		{"no ClusterIP", apierrors.NewInternalError(errors.New("failed to allocate a serviceIP: range is full")), AddressesExhausted, "serviceIP"},
		{"no node port", apierrors.NewInternalError(errors.New("failed to allocate a nodePort: range is full")), AddressesExhausted, "nodePort"},
		{"an immutable ConfigMap", invalid(field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set")), Immutable, "data"},
		{"a claim's spec", invalid(field.Forbidden(field.NewPath("spec"), "spec is immutable after creation except resources.requests for bound claims")), Immutable, "spec"},
		{"a StatefulSet's spec", invalid(field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'template' are forbidden")), Immutable, "spec"},
		{"a taken port", invalid(field.Invalid(field.NewPath("spec", "ports").Index(0).Child("nodePort"), 30432, "provided port is already allocated")), Invalid, "spec.ports[0].nodePort"},
		{"too large", invalid(field.TooLong(field.NewPath("data"), "", corev1.MaxSecretSize)), TooLarge, ""},
		{"unauthorized", apierrors.NewUnauthorized("token 123 expired"), Unauthorized, ""},
		{"exists", apierrors.NewAlreadyExists(corev1.Resource("secrets"), "x"), AlreadyExists, ""},
		{"not found", apierrors.NewNotFound(corev1.Resource("namespaces"), "zoo"), NotFound, ""},
		{"no such kind", &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "cert-manager.io", Kind: "Certificate"}}, KindUnknown, ""},
		{"conflict", apierrors.NewConflict(corev1.Resource("secrets"), "x", errors.New("changed")), Conflict, ""},
		{"terminating", terminating(), NamespaceTerminating, ""},
		{"connection", refusedConnection(50123), APIUnavailable, ""},
		{"deadline", context.DeadlineExceeded, APIUnavailable, ""},
		{"too many requests", apierrors.NewTooManyRequests("later", 1), APIUnavailable, ""},
		{"not now", apierrors.NewServiceUnavailable("etcd 42"), APIUnavailable, ""},
		{"a fault of the server", apierrors.NewInternalError(errors.New("goroutine 7")), InternalError, ""},
		{"something else", errors.New("0x1234"), Unexplained, ""},
		{"another status", apierrors.NewGenericServerResponse(http.StatusTeapot, "get", corev1.Resource("pods"), "x", "short", 0, true), Unexplained, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrapped := fmt.Errorf("making services: %w", failed("applying", Object{"Service", "zoo", "hippo"}, c.err))
			got := Explain(wrapped)
			if got != (Problem{Cause: c.want, Detail: c.detail}) || CauseOf(wrapped) != c.want {
				t.Errorf("got %+v", got)
			}
			if text := got.String(); strings.ContainsAny(text, "\n%") || got.Fact() == "" || got.Remedy() == "" {
				t.Errorf("message %q", text)
			}
		})
	}
	if CauseOf(nil) != "" {
		t.Error("no error has a cause")
	}
}

// A message that differs at each attempt would be written to the status at each attempt, and that write wakes the reconciler.
func TestAProblemIsTheSameAtEachAttempt(t *testing.T) {
	quota := func(used int) error {
		return forbidden(fmt.Sprintf("exceeded quota: few, requested: secrets=1, used: secrets=%d, limited: secrets=7", used))
	}
	for name, attempts := range map[string][2]error{
		"ports":  {refusedConnection(50123), refusedConnection(50124)},
		"amount": {quota(7), quota(9)},
		"ids": {apierrors.NewInternalError(errors.New(`admission webhook "x" denied the request: id 1`)),
			apierrors.NewInternalError(errors.New(`admission webhook "x" denied the request: id 2`))},
	} {
		if a, b := Explain(attempts[0]).String(), Explain(attempts[1]).String(); a != b {
			t.Errorf("%s: %q, then %q", name, a, b)
		}
	}
}

func TestTheTextOfAnEventIsExplained(t *testing.T) {
	const text = `create Pod hippo-00-0-0 in StatefulSet hippo-00-0 failed error: pods "hippo-00-0-0" is forbidden: exceeded quota: cpu, requested: limits.cpu=1, used: limits.cpu=2, limited: limits.cpu=2`
	if got := ExplainMessage(text); got != (Problem{Cause: QuotaExceeded, Detail: "cpu: limits.cpu"}) {
		t.Errorf("got %+v", got)
	}
	if got := ExplainMessage("no idea"); got.Cause != Unexplained {
		t.Errorf("got %+v", got)
	}
}

func TestEveryCauseIsExplainedAndDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "reasons.md"))
	if err != nil {
		t.Fatal(err)
	}
	for cause, explanation := range explanations {
		if explanation.fact == "" || explanation.remedy == "" {
			t.Errorf("%s has no fact or no remedy", cause)
		}
		if strings.Contains(explanation.remedy, "delete") {
			t.Errorf("%s advises to delete: %q", cause, explanation.remedy)
		}
		if !strings.Contains(string(page), "* `"+string(cause)+"`: ") {
			t.Errorf("docs/reasons.md does not list the cause %s", cause)
		}
	}
}
