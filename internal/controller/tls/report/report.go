// Package report says what was observed and decided: status, conditions and events. It is pure, and nothing is decided from
// what it says. The status as it was told last only tells what is news.
package report

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// timeGrain of times in the status.
const timeGrain = time.Second

// ConditionTLSReady is true when every endpoint was seen to serve what it should.
const ConditionTLSReady = "TLSReady"

// Conditions are the types of all conditions that a report may hold.
func Conditions() []string {
	conditions := []string{ConditionTLSReady, conditionRequests}
	for _, s := range wanted.Slots() {
		conditions = append(conditions, s.Condition)
	}
	for _, domain := range facts.Domains() {
		conditions = append(conditions, trustConditions[domain])
	}
	return conditions
}

// Reasons of the condition besides those of blockers.
const (
	reasonProven     = "Proven"     // every endpoint was seen to serve its published leaf
	reasonRenewing   = "Renewing"   // steps are being taken
	reasonNoEndpoint = "NoEndpoint" // no pod runs yet
)

// PolicyInvalid blocks a cluster whose spec has invalid certificate settings.
const PolicyInvalid reason.Code = reason.PolicyInvalid

// Reasons of events besides those of blockers and conditions.
const eventProven = "Proven"

// Report is what is said of a cluster.
type Report struct {
	Status v1beta1.PostgresClusterStatus // the conditions and the member tls
	Events []Event                       // of what the status did not say before
}

// Event is one event about the cluster.
type Event struct{ Type, Reason, Action, Message string }

// rotate is the action of events that differ in their reason; events that differ in their text alone count as one.
const rotate = "Rotate"

// Of says what a snapshot and the plan that was made from it show.
func Of(s *snapshot.Snapshot, decided plan.Plan) Report {
	decided.Blockers = slices.Concat(failureBlockers(s, decided), twinBlockers(s), decided.Blockers)
	if decided.State == plan.Steady && slices.ContainsFunc(decided.Blockers, func(b plan.Blocker) bool { return !b.Reason.Expected() }) {
		decided.State = plan.Waiting
	}
	status := v1beta1.PostgresClusterStatus{
		Conditions: slices.Concat([]metav1.Condition{condition(s, decided)}, customConditions(s, decided), requestConditions(s)),
		TLS: &v1beta1.TLSStatus{
			State:       stateOf(s, decided),
			NextRenewal: timeText(decided.NextRenewal),
			Authorities: authorityStatus(s, decided),
			Rekeys:      rekeyStatus(decided),
			Endpoints:   endpointStatus(s),
			Blockers:    blockerStatus(slices.Concat(decided.Blockers, requestBlockers(s))),

			ClientCertificates: clientCertificateStatus(s),
		},
	}
	report := Report{Status: status, Events: slices.Concat(provenEvents(s, status.TLS.Endpoints), customEvents(s, status.Conditions))}
	for _, b := range status.TLS.Blockers {
		if !blockerKnown(s.Cluster, b) && !underway(s, b) {
			report.Events = append(report.Events, Event{corev1.EventTypeWarning, b.Reason, rotate, b.Party + ": " + b.Message})
		}
	}
	return report
}

// notServing is the state of a cluster whose certificates are as wanted, and that has no pod yet that serves them.
const notServing = "NotServing"

// stateOf is the state in one word. It is Steady only when the condition TLSReady is true.
func stateOf(s *snapshot.Snapshot, decided plan.Plan) string {
	if decided.State == plan.Steady && condition(s, decided).Status != metav1.ConditionTrue {
		return notServing
	}
	return string(decided.State)
}

// underway reports whether a blocker is a stretch of the way that every
// activation goes, or a wait as planned: it stands in the status, and is worth no warning.
func underway(v *snapshot.Snapshot, b v1beta1.BlockerStatus) bool {
	switch reason.Code(b.Reason) {
	case reason.AwaitingActivation, reason.AwaitingWindow:
		return true
	case reason.AgentRefused:
		return slices.ContainsFunc(v.Observed.Parties, func(party facts.Party) bool {
			return slices.ContainsFunc(party.Pods, func(pod facts.Pod) bool {
				return pod.Name == b.Party && pod.Report != nil && pod.Report.ProblemReason == string(agentapi.AwaitingDelivery)
			})
		})
	default:
		return false
	}
}

func blockerStatus(blockers []plan.Blocker) []v1beta1.BlockerStatus {
	var out []v1beta1.BlockerStatus
	for _, b := range blockers {
		out = append(out, v1beta1.BlockerStatus{Party: b.Party, Reason: string(b.Reason), Message: b.Message})
	}
	return out
}

// blockerKnown reports whether the status tells of a blocker already: an event is sent once per change.
func blockerKnown(cluster *v1beta1.PostgresCluster, b v1beta1.BlockerStatus) bool {
	return cluster.Status.TLS != nil && slices.ContainsFunc(cluster.Status.TLS.Blockers, func(known v1beta1.BlockerStatus) bool {
		return known.Party == b.Party && known.Reason == b.Reason && (b.Reason != string(requestInvalid) || known.Message == b.Message)
	})
}

func condition(v *snapshot.Snapshot, decided plan.Plan) metav1.Condition {
	c := metav1.Condition{
		Type: ConditionTLSReady, Status: metav1.ConditionFalse,
		ObservedGeneration: v.Cluster.Generation, LastTransitionTime: metav1.NewTime(v.Observed.Now.Truncate(time.Second)),
	}
	pods := 0
	for i := range v.Observed.Parties {
		pods += len(v.Observed.Parties[i].Pods)
	}
	switch {
	case decided.State == plan.Waiting:
		i := slices.IndexFunc(decided.Blockers, func(b plan.Blocker) bool { return !b.Reason.Expected() })
		c.Reason, c.Message = string(decided.Blockers[i].Reason), decided.Blockers[i].Message
	case decided.State == plan.Renewing:
		c.Reason, c.Message = reasonRenewing, "certificates are being renewed"
	case pods == 0:
		c.Reason, c.Message = reasonNoEndpoint, "no pod runs yet: see the condition Ready"
	default:
		c.Status, c.Reason = metav1.ConditionTrue, reasonProven
		c.Message = "every endpoint was seen to serve its published leaf"
	}
	return c
}
