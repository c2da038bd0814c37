package material

import (
	"crypto/x509"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// ReadBridge reads one of several bridges. One that cannot be read is none: chains do without it.
func ReadBridge(text []byte, place int) (*x509.Certificate, facts.Bridge) {
	certificates, err := pki.ParseBundle(text)
	if err != nil || len(certificates) <= place {
		return nil, facts.Bridge{}
	}
	details := pki.Facts(certificates[place])
	return certificates[place], facts.Bridge{
		Fingerprint: details.Fingerprint, KeyID: details.KeyID, IssuerKeyID: details.IssuerKeyID, NotBefore: details.NotBefore, NotAfter: details.NotAfter,
	}
}

// ReadMarks reads what was decided about an authority from its Secret. What cannot be read was not decided.
func ReadMarks(annotations map[string]string) facts.Marks {
	marks := facts.Marks{
		Answered:       annotations[AnswersAnnotation],
		RollbackSeen:   annotations[RollbackSeenAnnotation],
		RollbackReason: reason.Code(annotations[RollbackReasonAnnotation]),
		RolledBack:     ParseGeneration(annotations[RolledBackAnnotation]),
		RolledBackBy:   reason.Code(annotations[RolledBackByAnnotation]),
	}
	if at, err := time.Parse(TimeLayout, annotations[SwitchedAnnotation]); err == nil {
		marks.SwitchedAt = at
	}
	for text := range strings.SplitSeq(annotations[RetiredAnnotation], ",") {
		if n := ParseGeneration(text); n > 0 {
			marks.Retired = append(marks.Retired, n)
		}
	}
	return marks
}

// MarksOf are the annotations that hold what was decided.
func MarksOf(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for _, key := range []string{AnswersAnnotation, RollbackSeenAnnotation, SwitchedAnnotation, RollbackReasonAnnotation, RolledBackAnnotation, RolledBackByAnnotation, RetiredAnnotation} {
		if value, ok := annotations[key]; ok {
			out[key] = value
		}
	}
	return out
}
