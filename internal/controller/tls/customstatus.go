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
	switch {
	case p.gone: // the condition is how it is known that there is one
		return v.newCondition(p.slot.condition, metav1.ConditionFalse, string(p.findings[0].Reason), p.findings[0].Message)
	case !p.accepted:
		refusals := refusalsIn(p.findings)
		return v.newCondition(p.slot.condition, metav1.ConditionFalse, string(refusals[0].Reason), messages(refusals)+"; "+v.instead(p))
	}
	leaf := fmt.Sprintf("%s: certificate %s of %s, valid until %s", p.source, p.facts.Content, p.pair.Leaf().Issuer, p.facts.NotAfter.UTC().Format(timeLayout))
	var breaks string
	for _, adoption := range plan.Adoptions {
		if adoption.Kind == p.slot.kind && adoption.Domain == p.slot.domain {
			breaks = adoption.AffectedClients
		}
	}
	switch reason := v.waitsFor(p, plan); {
	case reason == string(rotation.CustomEnded):
		return v.newCondition(p.slot.condition, metav1.ConditionFalse, reason, warnings(leaf+"; there is no newer one, and "+ownInstead, p.findings))
	case reason != "":
		return v.newCondition(p.slot.condition, metav1.ConditionFalse, reason, warnings(withBreaks(leaf, breaks), p.findings))
	}
	return v.newCondition(p.slot.condition, metav1.ConditionTrue, reasonPresented, warnings(leaf, p.findings))
}

// waitsFor is the reason why what was accepted is not presented by everybody, "" when it is.
func (v *view) waitsFor(p *presented, plan rotation.Plan) string {
	if v.presentedByAll(p) {
		return ""
	}
	for _, b := range plan.Blockers {
		switch {
		case b.Reason == rotation.AwaitingApproval && strings.Contains(b.Message, p.facts.Content):
			return string(b.Reason)
		case b.Reason == rotation.CustomEnded && v.concerns(b, p):
			return string(b.Reason)
		}
	}
	return reasonAdopting
}

// concerns reports whether a blocker that names a party tells of the slot of a custom certificate.
func (v *view) concerns(b rotation.Blocker, p *presented) bool {
	party := v.party(b.Party)
	return party != nil && party.Kind == p.slot.kind && strings.Contains(b.Message, string(p.slot.domain))
}

// presentedByAll reports whether a custom certificate is in the material of every party of its kind, and every pod was seen to
// use it: since then or, when the status has told so already, before.
func (v *view) presentedByAll(p *presented) bool {
	told := slices.ContainsFunc(v.cluster.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == p.slot.condition && c.Reason == reasonPresented && strings.Contains(c.Message, p.facts.Content)
	})
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		if party.Kind != p.slot.kind || party.Material.State == rotation.Foreign {
			continue
		}
		holds := slices.ContainsFunc(party.Material.Customs, func(c rotation.Custom) bool {
			return c.Domain == p.slot.domain && c.Content == p.facts.Content
		})
		uses := func(pod rotation.Pod) bool { return told || usesCustom(party, &pod, p) }
		if !holds || slices.ContainsFunc(party.Pods, func(pod rotation.Pod) bool { return !uses(pod) }) {
			return false
		}
	}
	return true
}

// usesCustom reports whether a pod uses what is published, and was seen to serve it where that can be seen.
func usesCustom(party *rotation.Party, pod *rotation.Pod, p *presented) bool {
	if pod.Report == nil || pod.Report.Active != party.Material.Revision {
		return false
	}
	return p.slot.domain == rotation.Client || !slices.ContainsFunc(pod.Proofs, func(proof rotation.Proof) bool {
		return proof.Process && proof.Fingerprint != p.facts.Fingerprint
	})
}

func withBreaks(text, breaks string) string {
	if breaks == "" {
		return text
	}
	return text + "; " + breaks
}

const ownInstead = "pgtls's own certificate is presented"

// instead says what is presented in place of a certificate that was refused.
func (v *view) instead(p *presented) string {
	if p.pair == nil {
		return ownInstead
	}
	return fmt.Sprintf("certificate %s, valid until %s, goes on being presented", p.facts.Content, p.facts.NotAfter.UTC().Format(timeLayout))
}

// retryAfter is when to look again at a source of whose change nothing tells us: one that could not be read, that is not valid
// yet by the operator's clock, that cannot be noted, or whose issuer's kind is not known here yet. 0: every source is watched.
func (v *view) retryAfter() time.Duration {
	findings := slices.Concat(v.trustFindings[rotation.Server], v.trustFindings[rotation.Client])
	for _, p := range v.customs {
		findings = append(findings, p.findings...)
	}
	for _, f := range findings {
		switch f.Reason {
		case sourceUnreadable, issuerUnavailable, awaitingIssuer, recordForeign, custom.NotYetValid:
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
