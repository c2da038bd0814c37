// Package revocation decides what becomes of certificates that were issued to applications: which are revoked, what stands on
// the revocation lists of instances, and which sessions are ended.
package revocation

import (
	"maps"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Ledger names the ledger in blockers and lanes.
const Ledger = "client certificates"

// State is what an observation says of certificates of applications.
type State struct {
	// Readable: the ledger can be read and written. Without it nothing is issued to applications and nothing is revoked, for it
	// could not be noted, and no client authority is dropped.
	Readable bool
	// Serials that are revoked, or about to be.
	Serials map[string]bool
	// Gate has the blockers about the ledger, and when certificates are to be revoked by themselves.
	Gate plan.Gate

	due map[reason.Code][]string
}

// Assess finds what is revoked and what is to be.
func Assess(o *facts.Observed) State {
	s := State{}
	s.Readable, s.Gate = ledgerReadable(o.Ledger.State)
	for i := range o.Ledger.Issued {
		entry := &o.Ledger.Issued[i]
		if !o.Now.Before(entry.NotAfter) {
			continue
		}
		why, at := because(o, entry)
		if at.After(o.Now) {
			s.Gate = s.Gate.Until(at)
		}
		switch {
		case !entry.RevokedAt.IsZero():
		case why == "" || !s.Readable:
			continue
		default:
			s.isDue(why, entry.Serial)
		}
		if s.Serials == nil {
			s.Serials = map[string]bool{}
		}
		s.Serials[entry.Serial] = true
	}
	return s
}

func (s *State) isDue(why reason.Code, serial string) {
	if s.due == nil {
		s.due = map[reason.Code][]string{}
	}
	s.due[why] = append(s.due[why], serial)
}

func ledgerReadable(state facts.MaterialState) (bool, plan.Gate) {
	switch state {
	case facts.Missing, facts.Present:
		return true, plan.Gate{}
	case facts.Foreign:
		return false, plan.Shut(plan.Block(Ledger, reason.ForeignSecret, "the Secret with the ledger of what was issued to applications is not this cluster's: rename it"))
	default:
		return false, plan.Shut(plan.Block(Ledger, reason.LedgerUnreadable, "the ledger of what was issued to applications cannot be read: restore it from a backup; "+
			"until then only what stands in their Secrets and on the revocation lists is known"))
	}
}

// because says why a certificate is to be revoked, "" if it is not, and when its user's revokeIssuedBefore comes (zero: never).
func because(o *facts.Observed, entry *facts.Issued) (reason.Code, time.Time) {
	for i := range o.Parties {
		p := &o.Parties[i]
		if !p.Kind.InLedger || p.User != entry.User {
			continue
		}
		if entry.At.Before(p.RevokeBefore) && !o.Now.Before(p.RevokeBefore) {
			return reason.Requested, p.RevokeBefore
		}
		return "", p.RevokeBefore
	}
	return reason.Unwanted, time.Time{}
}

// Lanes are the steps about the ledger and about Secrets of applications that are to have none any more. Such a Secret is deleted
// once what it holds is noted as revoked.
func (s *State) Lanes(o *facts.Observed) (lanes []plan.Lane) {
	if len(s.due) > 0 {
		lane := plan.Lane{Of: Ledger}
		for _, why := range slices.Sorted(maps.Keys(s.due)) {
			lane.Steps = append(lane.Steps, plan.Revoke{Serials: s.due[why], Reason: why})
		}
		lanes = append(lanes, lane)
	}
	if !s.Readable || len(s.due[reason.Unwanted]) > 0 {
		return lanes
	}
	for _, name := range o.UnwantedApplications {
		lanes = append(lanes, plan.Lane{Of: name, Steps: []plan.Step{plan.Discard{Party: name, Reason: reason.Unwanted}}})
	}
	return lanes
}

// Outstanding is the gate of dropping a client authority: no application may still hold a certificate of it. What an application
// presents next cannot be seen, so that only its end, its revocation or a person's approval is known to be enough.
func (s *State) Outstanding(o *facts.Observed, old *facts.Authority) plan.Gate {
	if !s.Readable {
		return plan.When(false)
	}
	var last *facts.Issued
	var gate plan.Gate
	count := 0
	for i := range o.Ledger.Issued {
		entry := &o.Ledger.Issued[i]
		if entry.IssuerKeyID != old.Certificate.KeyID || !entry.RevokedAt.IsZero() || !o.Now.Before(entry.NotAfter) {
			continue
		}
		gate = gate.Until(entry.NotAfter)
		count++
		if last == nil || last.NotAfter.Before(entry.NotAfter) {
			last = entry
		}
	}
	if last == nil {
		return gate
	}
	return gate.And(plan.Shut(plan.Block(old.Name(), reason.CertificatesOutstanding, "%s of client g%d may be in use until %s, the last is %s of user %s: revoke them (revokeIssuedBefore), or set the annotation "+
		"pgtls.dev/retire-approved to client-g%d once their users are known to present newer ones", certificates(count), old.Generation, last.NotAfter.UTC().Format(time.RFC3339), last.Serial, last.User, old.Generation)))
}
