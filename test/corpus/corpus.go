// Package corpus makes the certificates that people put into Secrets, right and wrong ones, with what package custom must
// say about each. hack/corpus puts every case to the real programs, so that "works" is theirs to say and not ours.
//
// Keys are fresh at every run. Nothing here reads a clock or a file.
package corpus

import (
	"time"

	"pgtls.dev/pgtls/internal/custom"
)

// Case is a Secret and what is to be said about it.
type Case struct {
	Name  string // "instance: tls.crt is cut"
	Input custom.Input

	// Want is the reason to refuse it; "" for a right case.
	Want custom.Reason
	// Warns are the reasons of the warnings that a right case gives, sorted; a wrong one may give any.
	Warns []custom.Reason
	// Strict says why a case is refused although PostgreSQL, PgBouncer and libpq take it.
	Strict string
}

// Works tells whether the real programs must take the Secret as it is.
func (c Case) Works() bool { return c.Want == "" || c.Strict != "" }

// Names are the hosts under which clients reach a cluster.
type Names struct {
	// Instance and Pooler are given to clients: two or more each, which differ in their first label alone.
	Instance, Pooler []string
}

// Identities are the common names that may replicate.
func Identities() []string { return []string{"_pgtlsrepl", "_crunchyrepl"} }

// The windows of every case.
const (
	day         = 24 * time.Hour
	renewBefore = 10 * day
)

// Cases makes all cases, as of now.
func Cases(now time.Time, names Names) []Case {
	var cases []Case
	for _, role := range []custom.Role{custom.Instance, custom.Pooler} {
		m := maker{now: now, role: role, hosts: names.Instance}
		if role == custom.Pooler {
			m.hosts = names.Pooler
		}
		cases = append(cases, m.make(textCases(role), chainCases(), serverCases(role), rightCases(role))...)
	}
	m := maker{now: now, role: custom.Replication, common: Identities()[0]}
	return append(cases, m.make(replicationCases())...)
}

// sketch is a case before it is made for a role.
type sketch struct {
	name   string
	want   custom.Reason
	warns  []custom.Reason
	strict string
	input  func(m maker) custom.Input
}

// make completes the sketches with what they all share.
func (m maker) make(lists ...[]sketch) []Case {
	var cases []Case
	for _, list := range lists {
		for _, s := range list {
			in := s.input(m)
			in.Role, in.Source = m.role, "Secret postgres/custom"
			in.Now, in.RenewBefore = m.now, renewBefore
			in.Identities = Identities()
			if in.Names == nil {
				in.Names = m.hosts
			}
			cases = append(cases, Case{string(m.role) + ": " + s.name, in, s.want, s.warns, s.strict})
		}
	}
	return cases
}
