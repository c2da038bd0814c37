package rotation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// The applications of a world: what was issued to them, what was revoked, and which users are let in.

// application adds a user that logs in with a certificate.
func application(user string) fact {
	return func(w *world) {
		w.members = append(w.members, &member{name: "user-" + user, kind: party.Application, user: user, secret: facts.Material{State: facts.Missing}, wants: []facts.LeafWant{wantClient(user)}})
		w.sort()
	}
}

// issued adds an application that has its certificate.
func issued(user string) fact {
	return func(w *world) {
		application(user)(w)
		w.publish(w.member("user-"+user), []facts.Domain{facts.Client})
	}
}

// replaced gives an application a new certificate in place of the one that it has.
func replaced(user string) fact {
	return func(w *world) { w.publish(w.member("user-"+user), []facts.Domain{facts.Client}) }
}

// revokeBefore asks for the revocation of everything that was issued to a user before a time from now.
func revokeBefore(user string, in time.Duration) fact {
	return func(w *world) { w.member("user-" + user).revokeBefore = w.now.Add(in) }
}

func userGone(user string) fact {
	return func(w *world) { w.member("user-" + user).wants = nil }
}

func ledgerUnreadable(w *world) { w.ledger = facts.Ledger{State: facts.Unknown} }

// corporateTrusted is an authority from elsewhere whose client certificates everybody accepts.
func corporateTrusted(w *world) {
	corporateWanted(w)
	admitted(facts.Client, "corporate")(w)
	for _, m := range w.members {
		if m.kind == party.Application {
			continue
		}
		m.secret = cloneMaterial(m.secret)
		m.secret.Anchors.Client = append(m.secret.Anchors.Client, "corporate")
		m.secret.Revision = revisionOf(&m.secret)
		for _, c := range m.pods {
			c.install(m.secret, m.secret.Revision)
			w.handshake(m, c)
		}
	}
}

func corporateWanted(w *world) { w.besides = append(w.besides, "corporate") }

// observeApplications: a user without wants is one whose Secret is still there.
func (w *world) observeApplications(o *facts.Observed) {
	o.Ledger = w.ledger
	o.Ledger.Issued = slices.Clone(w.ledger.Issued)
	o.Parties = slices.DeleteFunc(o.Parties, func(p facts.Party) bool {
		gone := p.Kind == party.Application && len(p.Wants) == 0
		if gone {
			o.UnwantedApplications = append(o.UnwantedApplications, p.Name)
		}
		return gone
	})
}

// application carries out a step that only applications cause.
func (w *world) application(s plan.Step) error {
	switch s := s.(type) {
	case plan.Revoke:
		if w.ledger.State != facts.Present {
			return fmt.Errorf("noting in a ledger that is %q", w.ledger.State)
		}
		w.ledger.Issued = slices.Clone(w.ledger.Issued)
		for i := range w.ledger.Issued {
			if slices.Contains(s.Serials, w.ledger.Issued[i].Serial) {
				w.ledger.Issued[i].RevokedAt = w.now
			}
		}
	case plan.EndSessions:
		m, c := w.pod(s.Pod)
		lists := m.secret.Revoked.String()
		if c.terminated.Lists != lists {
			c.terminated = facts.Terminated{Lists: lists, First: w.now}
		}
		c.terminated.Last = w.now
	case plan.Discard:
		w.members = slices.DeleteFunc(w.members, func(m *member) bool { return m.name == s.Party })
	default:
		return fmt.Errorf("no such step: %q", s.Op())
	}
	return nil
}

// noteIssue enters a leaf of an application in the ledger.
func (w *world) noteIssue(m *member, leaf *facts.Leaf) {
	if m.kind != party.Application {
		return
	}
	w.ledger.State = facts.Present
	w.ledger.Issued = append(slices.Clone(w.ledger.Issued), facts.Issued{User: m.user, Serial: leaf.Serial, IssuerKeyID: leaf.IssuerKeyID, At: w.now, NotAfter: leaf.NotAfter})
}

// addRevocations adds what a publish adds besides leaves and bundles.
func (w *world) addRevocations(m *member, material *facts.Material, s plan.Publish) {
	if m.kind != party.Instance {
		return
	}
	lists := s.Lists
	if s.KeepLists {
		lists = m.secret.Revoked
	}
	material.Revoked = maps.Clone(lists)
	material.Lists = nil
	for issuer, serials := range lists {
		if material.Lists == nil {
			material.Lists = facts.ListNumbers{}
		}
		material.Lists[issuer] = w.now.Unix() + 1
		if before, there := m.secret.Revoked[issuer]; there && slices.Equal(before, serials) {
			material.Lists[issuer] = m.secret.Lists[issuer]
		}
	}
}

// listed is what the agent checks: a list for each anchor, or none at all.
func listed(w *world, m *facts.Material) bool {
	if m.Revoked == nil {
		return true
	}
	for _, a := range w.generations(facts.Client) {
		if _, there := m.Revoked[a.certificate.KeyID]; slices.Contains(m.Anchors.Client, a.certificate.Fingerprint) && !there {
			return false
		}
	}
	return true
}

// letIn names the pods whose PostgreSQL lets in a client that presents a certificate, as it is loaded there.
func (w *world) letIn(entry facts.Issued) string {
	var in []string
	for _, m := range w.members {
		for _, c := range m.pods {
			if m.kind != party.Instance {
				continue
			}
			refused := slices.Contains(c.active.Revoked[entry.IssuerKeyID], entry.Serial)
			trusted := false
			for _, a := range w.generations(facts.Client) {
				trusted = trusted || a.certificate.KeyID == entry.IssuerKeyID && slices.Contains(c.loaded.Client, a.certificate.Fingerprint)
			}
			if trusted && !refused && w.now.Before(entry.NotAfter) {
				in = append(in, c.name)
			}
		}
	}
	return strings.Join(in, " ")
}
