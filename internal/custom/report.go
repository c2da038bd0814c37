package custom

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"pgtls.dev/pgtls/internal/pki"
)

// report gathers findings about one Secret.
type report struct {
	source   string
	findings []Finding
}

func (r *report) refused() bool {
	return slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Severity == Refuse })
}

// add appends a finding once; fact is a format. An empty key means the Secret as a whole.
func (r *report) add(severity Severity, reason Reason, key, remedy, fact string, args ...any) {
	where := r.source
	if key != "" {
		where += ": key " + key
	}
	f := Finding{reason, severity, oneLine(where + ": " + fmt.Sprintf(fact, args...) + ": " + remedy)}
	if !slices.Contains(r.findings, f) {
		r.findings = append(r.findings, f)
	}
}

func (r *report) refuse(reason Reason, key, remedy, fact string, args ...any) {
	r.add(Refuse, reason, key, remedy, fact, args...)
}

func (r *report) warn(reason Reason, key, remedy, fact string, args ...any) {
	r.add(Warn, reason, key, remedy, fact, args...)
}

// addError puts what package pki says under the Secret's key.
func (r *report) addError(severity Severity, key string, err error) {
	if e, ok := errors.AsType[*pki.Error](err); ok {
		r.add(severity, Reason(e.Reason), key, e.Remedy, "%s", e.Fact)
	}
}

// maxMessage keeps a certificate with a thousand names from filling a status.
const maxMessage = 600

// oneLine keeps names out of a certificate, which may hold anything, from breaking a line.
func oneLine(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > maxMessage {
		return string(runes[:maxMessage-3]) + "..."
	}
	return text
}

// listed writes some of the words, and how many there are besides.
func listed(words []string) string {
	const most = 8
	if len(words) == 0 {
		return "nothing"
	}
	if len(words) > most {
		return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", len(words)-most)
	}
	return strings.Join(words, ", ")
}
