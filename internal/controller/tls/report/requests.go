package report

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// conditionRequests is false while an annotation asks for something that the operator does not understand; otherwise there is none.
const conditionRequests = "RequestsValid"

// requestInvalid is the reason of the condition and its blockers.
const requestInvalid reason.Code = "RequestInvalid"

// invalidRequests are the parts of annotations that ask for nothing that can be done.
func invalidRequests(s *snapshot.Snapshot) []wanted.Invalid {
	requests := wanted.RequestsOf(s.Cluster)
	highest := map[facts.Domain]int{}
	for domain, generation := range s.Observed.GenerationSeen {
		highest[domain] = generation
	}
	for i := range s.Observed.Authorities {
		a := &s.Observed.Authorities[i]
		highest[a.Domain] = max(highest[a.Domain], a.Generation)
	}
	return slices.Concat(requests.Invalid, requests.Unknown(highest))
}

// requestBlockers name them. Nothing waits for them.
func requestBlockers(s *snapshot.Snapshot) (blockers []plan.Blocker) {
	for _, invalid := range invalidRequests(s) {
		blockers = append(blockers, plan.Blocker{Party: invalid.Annotation, Reason: requestInvalid, Message: invalid.String()})
	}
	return blockers
}

func requestConditions(s *snapshot.Snapshot) []metav1.Condition {
	var texts []string
	for _, invalid := range invalidRequests(s) {
		texts = append(texts, invalid.String())
	}
	if len(texts) == 0 {
		return nil
	}
	return []metav1.Condition{newCondition(s, conditionRequests, metav1.ConditionFalse, string(requestInvalid), strings.Join(texts, "; "))}
}
