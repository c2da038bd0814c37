package tls

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/rotation"
)

const timeLayout = time.RFC3339

// timeGrain of times in the status.
const timeGrain = time.Second

// conditionTLSReady is true when every endpoint was seen to serve what it should.
const conditionTLSReady = "TLSReady"

// Reasons of the condition besides those of blockers.
const (
	reasonProven     = "Proven"     // every endpoint was seen to serve its published leaf
	reasonRenewing   = "Renewing"   // steps are being taken
	reasonNoEndpoint = "NoEndpoint" // no pod runs yet
	reasonFailed     = "Failed"     // a step failed and is tried again
)

// policyInvalid blocks a cluster whose spec asks for certificates that cannot be.
const policyInvalid rotation.Reason = rotation.PolicyInvalid

// Types and reasons of events.
const (
	eventNormal    = corev1.EventTypeNormal
	eventWarning   = corev1.EventTypeWarning
	eventIssued    = "Issued"
	eventActivated = "Activated"
	eventProven    = "Proven"
	eventRevoked   = string(rotation.ReasonRevoked)

	eventSessionsEnded = string(rotation.EndSessions)
)

func (r *Reconciler) event(v *view, kind, reason, format string, args ...any) {
	r.events.Eventf(v.cluster, nil, kind, reason, "Rotate", format, args...)
}

// writeStatus tells what was observed and decided, and sends an event for each new blocker.
func (r *Reconciler) writeStatus(ctx context.Context, v *view, plan rotation.Plan, failure error) error {
	status := v1beta1.PostgresClusterStatus{
		Conditions: append([]metav1.Condition{r.condition(v, plan, failure)}, v.customConditions(plan)...),
		TLS: &v1beta1.TLSStatus{
			State:       string(plan.State),
			NextRenewal: timeText(plan.NextRenewal),
			Authorities: authorityStatus(v, plan),
			Rekeys:      rekeyStatus(plan),
			Endpoints:   r.endpointStatus(v),
			Blockers:    blockerStatus(plan),

			ClientCertificates: clientCertificateStatus(v),
		},
	}
	if _, err := r.applier.ApplyStatus(ctx, v.cluster, status, "tls"); err != nil {
		return err
	}
	r.tellCustoms(v, status.Conditions)
	for _, b := range status.TLS.Blockers {
		if !blockerKnown(v.cluster, b) && !v.underway(b) {
			r.event(v, eventWarning, b.Reason, "%s: %s", b.Party, b.Message)
		}
	}
	return nil
}

// underway reports whether a blocker is a stretch of the way that every
// activation goes, or a wait as planned: it stands in the status, and is worth no warning.
func (v *view) underway(b v1beta1.BlockerStatus) bool {
	switch rotation.Reason(b.Reason) {
	case rotation.AwaitingActivation, rotation.AwaitingWindow:
		return true
	case rotation.AgentRefused:
		return slices.ContainsFunc(v.observed.Parties, func(party rotation.Party) bool {
			return slices.ContainsFunc(party.Pods, func(pod rotation.Pod) bool {
				return pod.Name == b.Party && pod.Report != nil && pod.Report.ProblemReason == string(agentapi.AwaitingDelivery)
			})
		})
	default:
		return false
	}
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

func authorityStatus(v *view, plan rotation.Plan) []v1beta1.AuthorityStatus {
	var out []v1beta1.AuthorityStatus
	for _, stored := range v.authorities {
		if stored.certificate == nil {
			continue
		}
		status := v1beta1.AuthorityStatus{
			Name:     generationName(stored.facts.Domain, stored.facts.Generation),
			Serial:   stored.facts.Certificate.Serial,
			NotAfter: metav1.NewTime(stored.facts.Certificate.NotAfter),
			Active:   plan.Signer(stored.facts.Domain) == stored.facts.Generation,
		}
		if at := stored.facts.SwitchedAt; !at.IsZero() {
			status.SwitchedAt = &metav1.Time{Time: at}
		}
		if stored.facts.RolledBack > 0 {
			status.RolledBack = generationName(stored.facts.Domain, stored.facts.RolledBack)
			status.RollbackReason = string(stored.facts.RolledBackBy)
		}
		out = append(out, status)
	}
	return out
}

func rekeyStatus(plan rotation.Plan) []v1beta1.RekeyStatus {
	var out []v1beta1.RekeyStatus
	for _, rekey := range plan.Rekeys {
		out = append(out, v1beta1.RekeyStatus{
			Domain: string(rekey.Domain), Phase: string(rekey.Phase),
			From: generationName(rekey.Domain, rekey.From), To: generationName(rekey.Domain, rekey.To), AffectedClients: rekey.AffectedClients,
		})
	}
	return out
}

// generationName is what a generation is called in annotations and status, such as server-g1; "" for none.
func generationName(domain rotation.Domain, generation int) string {
	if generation == 0 {
		return ""
	}
	return fmt.Sprintf("%s-g%d", domain, generation)
}

func (r *Reconciler) endpointStatus(v *view) []v1beta1.EndpointStatus {
	var out []v1beta1.EndpointStatus
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		for _, pod := range party.Pods {
			for _, e := range v.endpoints[pod.Name] {
				out = append(out, r.endpoint(v, party, pod, e))
			}
		}
	}
	slices.SortFunc(out, func(a, b v1beta1.EndpointStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (r *Reconciler) endpoint(v *view, party *rotation.Party, pod rotation.Pod, e evidence.Endpoint) v1beta1.EndpointStatus {
	status := v1beta1.EndpointStatus{Name: pod.Name + ":" + e.Name}
	if pod.Report != nil {
		status.Revision = pod.Report.Active
	}
	last, ok := r.proofs.Last(v.pods[pod.Name].UID, e.Name)
	switch {
	case !ok || last.Revision != party.Material.Revision:
		status.Reason = string(rotation.ReasonUnproven)
	case last.Problem != "":
		status.Reason = string(rotation.NotProven)
	case last.Facts.Fingerprint != e.Published(party):
		status.Reason = string(rotation.StillServingOld)
	}
	if ok && last.Problem == "" {
		status.Serial, status.Issuer = last.Facts.Serial, last.Facts.Issuer
		status.NotAfter = &metav1.Time{Time: last.Facts.NotAfter}
		status.ProvenSince = &metav1.Time{Time: last.Since.Truncate(time.Second)}
		if before := v.toldEndpoint(status.Name); before != nil && before.Serial == status.Serial && before.ProvenSince != nil {
			status.ProvenSince = before.ProvenSince // of another life of the operator
		}
	}
	return status
}

// toldEndpoint is what the status says of an endpoint, nil when it says nothing.
func (v *view) toldEndpoint(name string) *v1beta1.EndpointStatus {
	if v.cluster.Status.TLS == nil {
		return nil
	}
	told := v.cluster.Status.TLS.Endpoints
	i := slices.IndexFunc(told, func(e v1beta1.EndpointStatus) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &told[i]
}

// told reports whether the status says already that a pod serves a leaf on every port.
func (v *view) told(pod, serial string) bool {
	for _, e := range v.endpoints[pod] {
		if before := v.toldEndpoint(pod + ":" + e.Name); before == nil || before.Serial != serial || before.Reason != "" {
			return false
		}
	}
	return true
}

func blockerStatus(plan rotation.Plan) []v1beta1.BlockerStatus {
	var out []v1beta1.BlockerStatus
	for _, b := range plan.Blockers {
		out = append(out, v1beta1.BlockerStatus{Party: b.Party, Reason: string(b.Reason), Message: b.Message})
	}
	return out
}

// blockerKnown reports whether the status tells of a blocker already: an event is sent once per change.
func blockerKnown(cluster *v1beta1.PostgresCluster, b v1beta1.BlockerStatus) bool {
	return cluster.Status.TLS != nil && slices.ContainsFunc(cluster.Status.TLS.Blockers, func(known v1beta1.BlockerStatus) bool {
		return known.Party == b.Party && known.Reason == b.Reason
	})
}

func (r *Reconciler) condition(v *view, plan rotation.Plan, failure error) metav1.Condition {
	c := metav1.Condition{
		Type: conditionTLSReady, Status: metav1.ConditionFalse,
		ObservedGeneration: v.cluster.Generation, LastTransitionTime: metav1.NewTime(v.observed.Now.Truncate(time.Second)),
	}
	pods := 0
	for i := range v.observed.Parties {
		pods += len(v.observed.Parties[i].Pods)
	}
	switch {
	case failure != nil:
		c.Reason, c.Message = reasonFailed, failure.Error()
	case plan.State == rotation.Waiting:
		i := slices.IndexFunc(plan.Blockers, func(b rotation.Blocker) bool { return !b.Patient() })
		c.Reason, c.Message = string(plan.Blockers[i].Reason), plan.Blockers[i].Message
	case plan.State == rotation.Renewing:
		c.Reason, c.Message = reasonRenewing, "certificates are being renewed"
	case pods == 0:
		c.Reason, c.Message = reasonNoEndpoint, "no pod runs yet"
	default:
		c.Status, c.Reason = metav1.ConditionTrue, reasonProven
		c.Message = "every endpoint was seen to serve its published leaf"
	}
	return c
}
