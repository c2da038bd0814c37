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

func (r *report) refused() bool { return r.refusedSince(0) }

// refusedSince reports whether one of the findings after the first n is a refusal.
func (r *report) refusedSince(n int) bool {
	return slices.ContainsFunc(r.findings[n:], func(f Finding) bool { return f.Severity == Refuse })
}

func (r *report) at(key string) place { return place{report: r, key: key} }

// place is a key of the Secret: its findings name it. An empty key means the Secret as a whole.
type place struct {
	report *report
	key    string
}

// add appends a finding once; fact is a format.
func (p place) add(severity Severity, reason Reason, remedy, fact string, args ...any) {
	where := p.report.source
	if p.key != "" {
		where += ": key " + p.key
	}
	f := Finding{reason, severity, oneLine(where + ": " + fmt.Sprintf(fact, args...) + ": " + remedy)}
	if !slices.Contains(p.report.findings, f) {
		p.report.findings = append(p.report.findings, f)
	}
}

func (p place) refuse(reason Reason, remedy, fact string, args ...any) {
	p.add(Refuse, reason, remedy, fact, args...)
}

func (p place) warn(reason Reason, remedy, fact string, args ...any) {
	p.add(Warn, reason, remedy, fact, args...)
}

// addError puts an error of package pki under the Secret's key.
func (p place) addError(severity Severity, err error) {
	if e, ok := errors.AsType[*pki.Error](err); ok {
		p.add(severity, Reason(e.Reason), e.Remedy, "%s", e.Fact)
	}
}

// warnStrict names the clients that refuse what OpenSSL takes by default.
func (p place) warnStrict(err error) {
	clients := "clients that verify strictly, such as Python's ssl.create_default_context since 3.13, refuse it"
	if pki.ReasonOf(err) == pki.UsageMissing {
		clients = "clients that look at key usage, such as JDBC, refuse it with TLS 1.3"
	}
	if e, ok := errors.AsType[*pki.Error](err); ok {
		p.warn(StrictVerifiersRefuse, e.Remedy, "%s; it works with OpenSSL's defaults, and %s", e.Fact, clients)
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
