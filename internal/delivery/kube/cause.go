package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Cause is a closed set of codes for why a request to the API server failed.
type Cause string

// The causes.
const (
	QuotaExceeded        Cause = "QuotaExceeded"        // a ResourceQuota is used up
	QuotaUnspecified     Cause = "QuotaUnspecified"     // a ResourceQuota demands a value that the object does not have
	LimitRangeViolated   Cause = "LimitRangeViolated"   // a LimitRange has another minimum or maximum
	AdmissionDenied      Cause = "AdmissionDenied"      // a webhook, a policy or a plugin denied the object
	AdmissionUnavailable Cause = "AdmissionUnavailable" // a webhook did not answer
	Forbidden            Cause = "Forbidden"            // the operator's role lacks a verb
	Unauthorized         Cause = "Unauthorized"         // the API server does not know the operator
	AddressesExhausted   Cause = "AddressesExhausted"   // no address or port is free for a Service
	Immutable            Cause = "Immutable"            // a field cannot be changed any more
	Invalid              Cause = "Invalid"              // a field has a value that the API server does not take
	TooLarge             Cause = "TooLarge"             // the object is larger than the API server stores
	AlreadyExists        Cause = "AlreadyExists"        // an object of that name was made at the same time
	NotFound             Cause = "NotFound"             // the object, or what it needs, is not there
	KindUnknown          Cause = "KindUnknown"          // the API server does not know the kind
	Conflict             Cause = "Conflict"             // the object was changed since it was read: look again
	NamespaceTerminating Cause = "NamespaceTerminating" // nothing new is made in the namespace
	APIUnavailable       Cause = "APIUnavailable"       // the API server does not answer, or not now
	InternalError        Cause = "InternalError"        // the API server failed
	Unexplained          Cause = "Unexplained"          // none of these
)

// Problem is a cause with what is stable of the API server's own words: names and fields, never an address, a request id or an amount that
// is in use. Two requests that fail for the same cause have equal Problems, so a message made of one may stand in a status.
type Problem struct {
	Cause  Cause
	Detail string // such as the quota and its fields; empty where there is none
}

// CauseOf returns the cause of an error; empty for nil.
func CauseOf(err error) Cause { return Explain(err).Cause }

// Explain returns the problem behind an error of the API server or of the connection to it.
func Explain(err error) Problem {
	switch {
	case err == nil:
		return Problem{}
	case errors.Is(err, ErrNamespaceTerminating), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return Problem{Cause: NamespaceTerminating}
	case apierrors.IsConflict(err):
		return Problem{Cause: Conflict}
	}
	if problem, ok := explainText(err.Error()); ok {
		return problem
	}
	if problem, ok := explainFields(err); ok {
		return problem
	}
	return Problem{Cause: causeByStatus(err)}
}

// ExplainMessage is Explain for an error that is known by its text alone, such as that of another controller's event.
func ExplainMessage(message string) Problem {
	if problem, ok := explainText(message); ok {
		return problem
	}
	return Problem{Cause: Unexplained}
}

// phrases are what the API server says in words only. The first group, and the second where there is one, are the detail.
var phrases = []struct {
	cause   Cause
	pattern *regexp.Regexp
	detail  func(groups []string) string
}{
	{QuotaExceeded, regexp.MustCompile(`exceeded quota: ([^,]+), requested: (\S+), used:`), func(g []string) string { return quotaDetail(g[1], keysOf(g[2])) }},
	{QuotaUnspecified, regexp.MustCompile(`failed quota: ([^:]+): must specify (.+)$`), func(g []string) string { return quotaDetail(g[1], unspecified(g[2])) }},
	{LimitRangeViolated, regexp.MustCompile(`(maximum|minimum) (\S+) usage per (\S+) is `), func(g []string) string { return g[1] + " " + g[2] + " per " + g[3] }},
	{AdmissionDenied, regexp.MustCompile(`admission webhook "([^"]+)" denied the request`), func(g []string) string { return "webhook " + g[1] }},
	{AdmissionDenied, regexp.MustCompile(`(ValidatingAdmissionPolicy|MutatingAdmissionPolicy|policy) ['"]([^'"]+)['"].* denied request`), func(g []string) string { return g[1] + " " + g[2] }},
	{AdmissionDenied, regexp.MustCompile(`violates PodSecurity "([^"]+)"`), func(g []string) string { return "PodSecurity " + g[1] }},
	{AdmissionUnavailable, regexp.MustCompile(`failed calling webhook "([^"]+)"`), func(g []string) string { return "webhook " + g[1] }},
	{Forbidden, regexp.MustCompile(`cannot (\w+) resource "([^"]+)" in API group "([^"]*)"`), func(g []string) string { return g[1] + " " + strings.TrimSuffix(g[2]+"."+g[3], ".") }},
	{Forbidden, regexp.MustCompile(`attempting to grant RBAC permissions not currently held`), func([]string) string { return "to grant what it does not have itself" }},
	{AddressesExhausted, regexp.MustCompile(`failed to allocate an? (serviceIP|nodePort|HealthCheck NodePort).*range is full`), func(g []string) string { return g[1] }},
	{AddressesExhausted, regexp.MustCompile(`range is full`), func([]string) string { return "" }},
	{TooLarge, regexp.MustCompile(`Too long: (?:may not be more than|must have at most) 1048576 bytes|request is too large|etcdserver: request is too large`), func([]string) string { return "" }},
}

func explainText(message string) (Problem, bool) {
	for _, phrase := range phrases {
		if groups := phrase.pattern.FindStringSubmatch(message); groups != nil {
			return Problem{Cause: phrase.cause, Detail: phrase.detail(groups)}, true
		}
	}
	return Problem{}, false
}

func quotaDetail(quota string, fields []string) string {
	return strings.TrimSpace(quota) + ": " + strings.Join(fields, ", ")
}

// keysOf reads "limits.cpu=1,limits.memory=2Gi". The amounts stay out: what is asked for stands in the spec.
func keysOf(list string) []string {
	var keys []string
	for pair := range strings.SplitSeq(list, ",") {
		key, _, _ := strings.Cut(pair, "=")
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// unspecified reads "limits.cpu for: database,agent; limits.memory for: agent".
func unspecified(list string) []string {
	var fields []string
	for part := range strings.SplitSeq(list, ";") {
		field, _, _ := strings.Cut(strings.TrimSpace(part), " for:")
		fields = append(fields, field)
	}
	slices.Sort(fields)
	return fields
}

// explainFields reads which fields an answer of 422 names.
func explainFields(err error) (Problem, bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonInvalid {
		return Problem{}, false
	}
	problem := Problem{Cause: Invalid}
	var fields []string
	if details := status.Status().Details; details != nil {
		for _, cause := range details.Causes {
			fields = append(fields, cause.Field)
		}
	}
	slices.Sort(fields)
	problem.Detail = strings.Join(slices.DeleteFunc(slices.Compact(fields), func(f string) bool { return f == "" }), ", ")
	if immutable.MatchString(status.Status().Message) {
		problem.Cause = Immutable
	}
	return problem, true
}

var immutable = regexp.MustCompile(`(?i)immutable|updates to statefulset spec for fields other than|may not be changed|cannot change roleRef`)

func causeByStatus(err error) Cause {
	var network net.Error
	switch {
	case apierrors.IsForbidden(err):
		return AdmissionDenied // the authorizer names the verb; what remains is a plugin of admission
	case apierrors.IsUnauthorized(err):
		return Unauthorized
	case apierrors.IsAlreadyExists(err):
		return AlreadyExists
	case apierrors.IsNotFound(err):
		return NotFound
	case apierrors.IsRequestEntityTooLargeError(err):
		return TooLarge
	case apierrors.IsBadRequest(err):
		return Invalid
	case meta.IsNoMatchError(err):
		return KindUnknown
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return APIUnavailable
	case apierrors.IsInternalError(err):
		return InternalError
	default:
		return Unexplained
	}
}

// facts and remedies by cause. A %s is the detail. No remedy is to delete anything: the object may hold data or a key.
var explanations = map[Cause]struct{ fact, remedy string }{
	QuotaExceeded:        {"a ResourceQuota is used up (%s)", "raise the quota, or free the resource that it counts"},
	QuotaUnspecified:     {"a ResourceQuota demands a value that is not set (%s)", "set it under resources in the spec, or give the namespace a LimitRange with defaults"},
	LimitRangeViolated:   {"a LimitRange does not allow the object (%s)", "change resources in the spec, or the LimitRange"},
	AdmissionDenied:      {"admission denied the request (%s)", "change the policy, or the field that it rejects; its message is in the operator's log"},
	AdmissionUnavailable: {"an admission webhook did not answer (%s)", "see the webhook's own pods and Service"},
	Forbidden:            {"the operator's role lacks a right (%s)", "give the role the rules of config/rbac"},
	Unauthorized:         {"the API server does not accept the operator's token", "see the operator's ServiceAccount"},
	AddressesExhausted:   {"the API server has no free address or port for a Service (%s)", "free some, or widen the range"},
	Immutable:            {"a field is immutable (%s)", "set it back in the spec; create an object with immutable: true again without it"},
	Invalid:              {"the API server rejects the value of a field (%s)", "correct the value in the spec; the API server's message is in the operator's log"},
	TooLarge:             {"the object exceeds the size limit of the API server", "shorten its part of the spec"},
	AlreadyExists:        {"another request created an object of that name", "none if it is the cluster's; otherwise rename it"},
	NotFound:             {"the object, or an object that it needs, does not exist", "none unless it lasts"},
	KindUnknown:          {"the API server does not know the kind", "install its definition"},
	Conflict:             {"another request changed the object", "none"},
	NamespaceTerminating: {"the namespace is being deleted", "none"},
	APIUnavailable:       {"the API server does not answer", "see whether it is well and reachable from the operator"},
	InternalError:        {"the API server failed", "see the API server's log; its message is in the operator's log too"},
	Unexplained:          {"the request failed", "see the error in the operator's log"},
}

// Fact says in words what is wrong.
func (p Problem) Fact() string {
	fact := explanations[p.Cause].fact
	if p.Detail == "" {
		return strings.Replace(fact, " (%s)", "", 1)
	}
	if strings.Contains(fact, "%s") {
		return fmt.Sprintf(fact, p.Detail)
	}
	return fact
}

// Remedy says what a user can do about it.
func (p Problem) Remedy() string { return explanations[p.Cause].remedy }

// String is cause, fact and remedy in one line.
func (p Problem) String() string { return string(p.Cause) + ": " + p.Fact() + "; " + p.Remedy() }
