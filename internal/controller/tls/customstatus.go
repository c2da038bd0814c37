package tls

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/rotation"
)

// Reasons of the conditions CustomCertificate... and AdditionalTrust... besides those of findings and blockers.
const (
	reasonPresented = "Presented" // every party of the kind presents what the Secret holds
	reasonAdopting  = "Adopting"  // it was accepted, and takes its place pod by pod
	reasonAccepted  = "Accepted"  // what the sources hold is trusted
)

// trustConditions are the conditions about spec.tls.<domain>.additionalTrust.
var trustConditions = map[rotation.Domain]string{rotation.Server: "AdditionalTrustServer", rotation.Client: "AdditionalTrustClient"}

// customConditions say what has become of each certificate, and each trust, that the spec names.
func (v *view) customConditions(plan rotation.Plan) (conditions []metav1.Condition) {
	for _, p := range v.customs {
		conditions = append(conditions, v.customCondition(p, plan))
	}
	spec := specOf(v.cluster)
	for _, domain := range rotation.Domains() {
		wanted := map[rotation.Domain]int{rotation.Server: len(spec.server.AdditionalTrust), rotation.Client: len(spec.client.AdditionalTrust)}[domain]
		if wanted == 0 {
			continue
		}
		c := v.newCondition(trustConditions[domain], metav1.ConditionTrue, reasonAccepted, warnings("every source is read", v.trustFindings[domain]))
		if refusals := refusalsIn(v.trustFindings[domain]); len(refusals) > 0 {
			c.Status, c.Reason = metav1.ConditionFalse, string(refusals[0].Reason)
			c.Message = messages(refusals) + "; what was trusted before goes on being trusted"
		}
		conditions = append(conditions, c)
	}
	return conditions
}

func (v *view) newCondition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message,
		ObservedGeneration: v.cluster.Generation, LastTransitionTime: metav1.NewTime(v.observed.Now.Truncate(timeGrain)),
	}
}

func (v *view) customCondition(p *presented, plan rotation.Plan) metav1.Condition {
	if !p.accepted {
		refusals := refusalsIn(p.findings)
		return v.newCondition(p.slot.condition, metav1.ConditionFalse, string(refusals[0].Reason), messages(refusals)+"; "+v.instead(p))
	}
	leaf := fmt.Sprintf("%s: certificate %s of %s, valid until %s", p.source, p.facts.Content, p.pair.Leaf().Issuer, p.facts.NotAfter.UTC().Format(timeLayout))
	for _, adoption := range plan.Adoptions {
		if adoption.Kind == p.slot.kind && adoption.Domain == p.slot.domain {
			return v.newCondition(p.slot.condition, metav1.ConditionFalse, v.waitsFor(p, plan), warnings(withBreaks(leaf, adoption.Breaks), p.findings))
		}
	}
	return v.newCondition(p.slot.condition, metav1.ConditionTrue, reasonPresented, warnings(leaf, p.findings))
}

// waitsFor is the reason of what holds an adoption up, or that nothing does.
func (v *view) waitsFor(p *presented, plan rotation.Plan) string {
	for _, b := range plan.Blockers {
		if b.Reason == rotation.AwaitingApproval && slices.ContainsFunc(v.observed.Parties, func(party rotation.Party) bool {
			return party.Name == b.Party && party.Kind == p.slot.kind
		}) {
			return string(b.Reason)
		}
	}
	return reasonAdopting
}

func withBreaks(text, breaks string) string {
	if breaks == "" {
		return text
	}
	return text + "; " + breaks
}

// instead says what is presented in place of a certificate that was refused.
func (v *view) instead(p *presented) string {
	if p.pair == nil {
		return "pgtls's own certificate is presented"
	}
	return fmt.Sprintf("certificate %s, valid until %s, goes on being presented", p.facts.Content, p.facts.NotAfter.UTC().Format(timeLayout))
}

// retryAfter is when to look again at a source of whose change nothing tells us: one that could not be read, that is not valid
// yet by the operator's clock, or whose issuer's kind is not known here yet. 0: every source is watched.
func (v *view) retryAfter() time.Duration {
	findings := slices.Concat(v.trustFindings[rotation.Server], v.trustFindings[rotation.Client])
	for _, p := range v.customs {
		findings = append(findings, p.findings...)
	}
	for _, f := range findings {
		switch f.Reason {
		case sourceUnreadable, issuerUnavailable, awaitingIssuer, custom.NotYetValid:
			return retryMax
		default:
		}
	}
	return 0
}

func refusalsIn(findings []custom.Finding) (refusals []custom.Finding) {
	for _, f := range findings {
		if f.Severity == custom.Refuse {
			refusals = append(refusals, f)
		}
	}
	return refusals
}

// maxFindings bounds how many findings a condition tells: the first is the cause, and a message has 32 kB at most.
const maxFindings = 5

func messages(findings []custom.Finding) string {
	var texts []string
	for i, f := range findings {
		if i == maxFindings {
			texts = append(texts, fmt.Sprintf("and %d more", len(findings)-maxFindings))
			break
		}
		texts = append(texts, f.Message)
	}
	return strings.Join(texts, "; ")
}

// warnings adds what works and should be looked at.
func warnings(text string, findings []custom.Finding) string {
	var warned []custom.Finding
	for _, f := range findings {
		if f.Severity == custom.Warn {
			warned = append(warned, f)
		}
	}
	if len(warned) == 0 {
		return text
	}
	return text + "; warning: " + messages(warned)
}

// tellCustoms sends an event for each condition about a custom certificate, or a trust, that says something new.
func (r *Reconciler) tellCustoms(v *view, conditions []metav1.Condition) {
	for _, c := range conditions {
		if c.Type == conditionTLSReady || c.Reason == reasonAdopting {
			continue
		}
		known := slices.ContainsFunc(v.cluster.Status.Conditions, func(before metav1.Condition) bool {
			return before.Type == c.Type && before.Reason == c.Reason && before.Message == c.Message
		})
		if known {
			continue
		}
		kind := eventNormal
		if c.Status != metav1.ConditionTrue {
			kind = eventWarning
		}
		// The type as the action: events that differ in their text alone count as one.
		r.events.Eventf(v.cluster, nil, kind, c.Reason, c.Type, "%s", c.Message)
	}
}
