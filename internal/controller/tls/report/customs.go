package report

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Reasons of the conditions CustomCertificate... and AdditionalTrust... besides those of findings and blockers.
const (
	reasonPresented = "Presented" // every party of the kind presents what the Secret holds
	reasonAdopting  = "Adopting"  // it was accepted, and takes its place pod by pod
	reasonAccepted  = "Accepted"  // what the sources hold is trusted
)

// trustConditions are the conditions about spec.tls.<domain>.additionalTrust.
var trustConditions = map[facts.Domain]string{facts.Server: "AdditionalTrustServer", facts.Client: "AdditionalTrustClient"}

// customConditions say what has become of each certificate, and each trust, that the spec names.
func customConditions(v *snapshot.Snapshot, decided plan.Plan) (conditions []metav1.Condition) {
	for _, p := range withRequests(v) {
		conditions = append(conditions, customCondition(v, p, decided))
	}
	conditions = append(conditions, notTakenBack(v)...)
	spec := wanted.Of(v.Cluster)
	for _, domain := range facts.Domains() {
		wanted := map[facts.Domain]int{facts.Server: len(spec.Server.AdditionalTrust), facts.Client: len(spec.Client.AdditionalTrust)}[domain]
		if wanted == 0 {
			continue
		}
		c := newCondition(v, trustConditions[domain], metav1.ConditionTrue, reasonAccepted, warnings("every source is read", v.TrustFindings[domain]))
		if refusals := refusalsIn(v.TrustFindings[domain]); len(refusals) > 0 {
			c.Status, c.Reason = metav1.ConditionFalse, string(refusals[0].Reason)
			c.Message = messages(refusals) + "; the previous anchors stay trusted"
		}
		conditions = append(conditions, c)
	}
	return conditions
}

func newCondition(v *snapshot.Snapshot, kind string, status metav1.ConditionStatus, code, message string) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: status, Reason: code, Message: message,
		ObservedGeneration: v.Cluster.Generation, LastTransitionTime: metav1.NewTime(v.Observed.Now.Truncate(timeGrain)),
	}
}

func customCondition(v *snapshot.Snapshot, p *snapshot.Presented, decided plan.Plan) metav1.Condition {
	switch {
	case !p.Accepted:
		refusals := refusalsIn(p.Findings)
		return newCondition(v, p.Slot.Condition, metav1.ConditionFalse, string(refusals[0].Reason), messages(refusals)+"; "+instead(v, p))
	}
	leaf := fmt.Sprintf("%s: certificate %s of %s, valid until %s", p.Source, p.Facts.Content, p.Pair.Leaf().Issuer, p.Facts.NotAfter.UTC().Format(material.TimeLayout))
	var breaks string
	for _, adoption := range decided.Adoptions {
		if adoption.Kind == p.Slot.Kind && adoption.Domain == p.Slot.Domain {
			breaks = adoption.AffectedClients
		}
	}
	switch code := waitsFor(v, p, decided); {
	case code == string(reason.CustomEnded):
		return newCondition(v, p.Slot.Condition, metav1.ConditionFalse, code, warnings(leaf+"; there is no newer one, and "+ownInstead, p.Findings))
	case code != "":
		return newCondition(v, p.Slot.Condition, metav1.ConditionFalse, code, warnings(withBreaks(leaf, breaks), p.Findings))
	}
	return newCondition(v, p.Slot.Condition, metav1.ConditionTrue, reasonPresented, warnings(leaf, p.Findings))
}

// waitsFor is the reason why some pod does not present the accepted certificate yet, "" when all do.
func waitsFor(v *snapshot.Snapshot, p *snapshot.Presented, decided plan.Plan) string {
	if presentedByAll(v, p) {
		return ""
	}
	for _, b := range decided.Blockers {
		switch {
		case b.Reason == reason.AwaitingApproval && b.Content == p.Facts.Content:
			return string(b.Reason)
		case b.Reason == reason.CustomEnded && concerns(v, b, p):
			return string(b.Reason)
		}
	}
	return reasonAdopting
}

// concerns reports whether a blocker that names a party tells of the slot of a custom certificate.
func concerns(v *snapshot.Snapshot, b plan.Blocker, p *snapshot.Presented) bool {
	party := v.Party(b.Party)
	return party != nil && party.Kind == p.Slot.Kind && b.Domain == p.Slot.Domain
}

// presentedByAll reports whether a custom certificate is in the material of every party of its kind, and the process of every
// pod is known to present it.
func presentedByAll(v *snapshot.Snapshot, p *snapshot.Presented) bool {
	for i := range v.Observed.Parties {
		party := &v.Observed.Parties[i]
		if party.Kind != p.Slot.Kind || party.Material.State == facts.Foreign {
			continue
		}
		holds := slices.ContainsFunc(party.Material.Customs, func(c facts.Custom) bool {
			return c.Domain == p.Slot.Domain && c.Content == p.Facts.Content
		})
		if !holds || slices.ContainsFunc(party.Pods, func(pod facts.Pod) bool { return !presents(v, pod, p) }) {
			return false
		}
	}
	return true
}

// presents reports whether the process of a pod presents a custom certificate: its agent says so and, where that can be seen,
// the last handshake showed it. Which revision the pod uses does not matter: an own leaf may have been renewed since.
func presents(v *snapshot.Snapshot, pod facts.Pod, p *snapshot.Presented) bool {
	report := v.Reports[pod.Name]
	if report == nil {
		return false
	}
	leaf := report.ServedLeaf
	if p.Slot.Domain == facts.Client {
		leaf = report.PresentedLeaf
	}
	if leaf == nil || leaf.Serial != pki.Facts(p.Pair.Leaf()).Serial {
		return false
	}
	return p.Slot.Domain == facts.Client || !slices.ContainsFunc(v.Endpoints[pod.Name], func(e evidence.Endpoint) bool {
		return e.Process() && v.Handshakes[snapshot.EndpointName(pod.Name, e.Name)].Facts.Fingerprint != p.Facts.Fingerprint
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
func instead(v *snapshot.Snapshot, p *snapshot.Presented) string {
	if p.Pair == nil {
		return ownInstead
	}
	return fmt.Sprintf("the pods keep presenting certificate %s, valid until %s", p.Facts.Content, p.Facts.NotAfter.UTC().Format(material.TimeLayout))
}

// Unwatched reports whether there is a source of whose change nothing tells the operator: one that could not be read, that is
// not valid yet by the operator's clock, that cannot be noted, or whose issuer's kind is not known here yet.
func Unwatched(v *snapshot.Snapshot) bool {
	findings := slices.Concat(v.TrustFindings[facts.Server], v.TrustFindings[facts.Client])
	for _, p := range v.Customs {
		findings = append(findings, p.Findings...)
	}
	for _, f := range findings {
		switch f.Reason {
		case snapshot.SourceUnreadable, snapshot.IssuerUnavailable, snapshot.AwaitingIssuer, snapshot.RecordNotOwned, custom.NotYetValid:
			return true
		default:
		}
	}
	return v.Certificates.Err != nil
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

// customEvents tell of each condition about a custom certificate, or a trust, that says something new.
func customEvents(v *snapshot.Snapshot, conditions []metav1.Condition) (events []Event) {
	for _, c := range conditions {
		if c.Type == ConditionTLSReady || c.Type == conditionRequests || c.Reason == reasonAdopting {
			continue
		}
		known := slices.ContainsFunc(v.Cluster.Status.Conditions, func(before metav1.Condition) bool {
			return before.Type == c.Type && before.Reason == c.Reason && before.Message == c.Message
		})
		if known {
			continue
		}
		kind := corev1.EventTypeNormal
		if c.Status != metav1.ConditionTrue {
			kind = corev1.EventTypeWarning
		}
		// The type as the action: events that differ in their text alone count as one.
		events = append(events, Event{kind, c.Reason, c.Type, c.Message})
	}
	return events
}

// requestFinding tells of the Certificate of a slot that could not be written or looked for; nil when there is nothing to tell.
func requestFinding(v *snapshot.Snapshot, slot wanted.Slot) *custom.Finding {
	name := certmanager.Name(v.Cluster.Name, slot.Issued)
	finding := custom.Finding{Reason: snapshot.AwaitingIssuer, Severity: custom.Warn}
	for _, f := range v.Observed.Failures {
		if f.Object == certmanager.CertificateKind+" "+name {
			finding.Message = failureMessage(f)
			return &finding
		}
	}
	if v.Certificates.Err != nil && slot.Issuer(v.Cluster) != nil {
		finding.Message = fmt.Sprintf("Certificate %s: %s: the operator tries again", name, kube.Explain(v.Certificates.Err))
		return &finding
	}
	return nil
}

// withRequests are the custom certificates with what there is to tell of their Certificates.
func withRequests(v *snapshot.Snapshot) (customs []*snapshot.Presented) {
	for _, p := range v.Customs {
		told := *p
		if finding := requestFinding(v, p.Slot); finding != nil && awaits(p) {
			finding.Severity = custom.Refuse
			told.Findings = []custom.Finding{*finding}
		} else if finding != nil {
			told.Findings = append(slices.Clone(p.Findings), *finding)
		}
		customs = append(customs, &told)
	}
	return customs
}

// notTakenBack are the conditions about Certificates that the spec wants no longer and that could not be deleted.
func notTakenBack(v *snapshot.Snapshot) (conditions []metav1.Condition) {
	for _, slot := range wanted.Slots() {
		finding := requestFinding(v, slot)
		if finding == nil || slices.ContainsFunc(v.Customs, func(p *snapshot.Presented) bool { return p.Slot.Condition == slot.Condition }) {
			continue
		}
		conditions = append(conditions, newCondition(v, slot.Condition, metav1.ConditionFalse, string(finding.Reason), finding.Message))
	}
	return conditions
}

// awaits reports whether there is nothing yet but the wait for an issuer.
func awaits(p *snapshot.Presented) bool {
	return len(p.Findings) == 1 && (p.Findings[0].Reason == snapshot.AwaitingIssuer || p.Findings[0].Reason == snapshot.IssuerUnavailable)
}
