// Package invariant holds the rules that no step may break, whatever decided on it. The operator asks before every step, and the
// tests after every step. It has predicates of its own and imports the vocabulary alone, so that a fault in the decision cannot
// deceive both: see docs/rotation.md.
package invariant

import (
	"fmt"
	"slices"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// Violation names an invariant that a step would break.
type Violation struct {
	Invariant string
	Message   string
}

// Error makes a Violation an error: the operator refuses to execute the step.
func (v *Violation) Error() string { return v.Invariant + ": " + v.Message }

// Invariant is a rule about what was observed and a step that is about to be taken.
type Invariant struct {
	Name string
	Says string
	// Check returns what is wrong, "" when nothing is.
	Check func(*facts.Observed, plan.Step) string
}

// All are the rules of docs/rotation.md that can be seen at one instant. BoundedProgress and Isolation are about histories and
// live in the tests.
var all = [...]Invariant{
	{"OneSigner", "a generation is made once, and no second one is made while another waits to be active", oneSigner},
	{"LeafWithinAuthority", "no leaf outlives its authority", leafWithinAuthority},
	{"TrustBeforeUse", "no authority is active, no leaf is issued and no pod is asked to present one, before every verifier is known to accept it", trustBeforeUse},
	{"MutualTrust", "what a pod is asked to present is accepted by every process that is known to verify it", mutualTrust},
	{"BundleCoversServed", "no bundle is published without an authority that is not dropped, or without an external anchor that is noted and was in it", bundleCoversServed},
	{"UnknownIsNo", "no pod is asked while an earlier one is not settled or one that was asked was not seen to serve it, except for urgency", unknownIsNo},
	{"SoundBeforeUse", "only a revision that was read back and found sound is activated", soundBeforeUse},
	{"KeptAuthority", "only what is not dropped is stored again", keptAuthority},
	{"UseBeforeRetire", "no authority or anchor is dropped while something published or served needs it, and none is deleted while a bundle holds it", useBeforeRetire},
	{"RollBackToTrusted", "a re-key is rolled back only to an authority that can sign and that no bundle and no process is known to lack", rollBackToTrusted},
	{"AskedFor", "an external anchor is admitted only when the spec wants it, a certificate is revoked only when the user asked or is gone, and no wanted material is discarded", askedFor},
}

// All returns every invariant.
func All() []Invariant { return slices.Clone(all[:]) }

// Check returns the first invariant that would be broken by executing a step in what was observed, or nil.
func Check(observed *facts.Observed, step plan.Step) *Violation {
	for i := range all {
		if message := all[i].Check(observed, step); message != "" {
			return &Violation{Invariant: all[i].Name, Message: message}
		}
	}
	return nil
}

func oneSigner(o *facts.Observed, step plan.Step) string {
	switch s := step.(type) {
	case plan.CreateAuthority:
		if n := count(o, s.Domain); n > 0 {
			return fmt.Sprintf("the %s domain would have %d authorities that may sign", s.Domain, n+1)
		}
	case plan.TrustNew:
		if o.Authority(s.Domain, s.Generation) != nil {
			return fmt.Sprintf("the %s domain would have a second authority g%d", s.Domain, s.Generation)
		}
		if n := waiting(o, s.Domain); n > 0 {
			return fmt.Sprintf("the %s domain would have %d authorities that wait to sign", s.Domain, n+1)
		}
	}
	return ""
}

func count(o *facts.Observed, domain facts.Domain) (n int) {
	for i := range o.Authorities {
		if o.Authorities[i].Domain == domain {
			n++
		}
	}
	return n
}

// waiting counts the generations that are to be active some day, besides the one that is.
func waiting(o *facts.Observed, domain facts.Domain) (n int) {
	for i := range o.Authorities {
		a := &o.Authorities[i]
		if a.Domain != domain || !a.SwitchedAt.IsZero() || a.RollbackReason != "" || !a.Usable(o.Now) && a.Problem != "" || a.Expired(o.Now) || isDropped(o, a) {
			continue
		}
		for k := range o.Authorities {
			if b := &o.Authorities[k]; b.Domain == domain && b.Generation < a.Generation && !isDropped(o, b) {
				n++
				break
			}
		}
	}
	return n
}

func leafWithinAuthority(o *facts.Observed, step plan.Step) string {
	s, activates := step.(plan.Activate)
	p := o.Party(s.Party)
	if !activates || p == nil {
		return ""
	}
	for i := range p.Material.Leaves {
		l := &p.Material.Leaves[i]
		if a := issuerOf(o, l.Domain, l.IssuerKeyID); a != nil && l.NotAfter.After(a.Certificate.NotAfter) {
			return fmt.Sprintf("the %s leaf of %s outlives its authority", l.Domain, p.Name)
		}
	}
	return ""
}

func soundBeforeUse(o *facts.Observed, step plan.Step) string {
	s, activates := step.(plan.Activate)
	if !activates {
		return ""
	}
	p := o.Party(s.Party)
	switch {
	case p == nil:
		return fmt.Sprintf("party %s is not known", s.Party)
	case s.Revision == "" || p.Material.Revision != s.Revision:
		return fmt.Sprintf("revision %q of %s was not read back", s.Revision, s.Party)
	case !intact(p):
		return fmt.Sprintf("revision %s of %s is not sound", s.Revision, s.Party)
	}
	return ""
}

func keptAuthority(o *facts.Observed, step plan.Step) string {
	s, restores := step.(plan.RestoreAuthority)
	if !restores {
		return ""
	}
	a := o.Authority(s.Domain, s.Generation)
	switch {
	case a == nil || !a.Original.Present && !a.Copy.Present && !a.Remembered:
		return fmt.Sprintf("the %s authority g%d is stored nowhere", s.Domain, s.Generation)
	case a.Problem != "":
		return fmt.Sprintf("the %s authority g%d cannot be read", s.Domain, s.Generation)
	case isDropped(o, a):
		return fmt.Sprintf("the %s authority g%d was dropped", s.Domain, s.Generation)
	}
	return ""
}

func askedFor(o *facts.Observed, step plan.Step) string {
	switch s := step.(type) {
	case plan.AdmitAnchor:
		for i := range o.External {
			if a := &o.External[i]; a.Domain == s.Domain && a.Fingerprint == s.Anchor && a.Wanted {
				return ""
			}
		}
		return fmt.Sprintf("nothing in the spec wants the %s anchor %.12s", s.Domain, s.Anchor)
	case plan.Revoke:
		return revokedUnasked(o, s)
	case plan.Discard:
		if o.Party(s.Party) != nil {
			return fmt.Sprintf("material %s is wanted", s.Party)
		}
	}
	return ""
}

// revokedUnasked names a certificate of a user that exists and that did not ask for its revocation.
func revokedUnasked(o *facts.Observed, s plan.Revoke) string {
	for i := range o.Ledger.Issued {
		entry := &o.Ledger.Issued[i]
		if !slices.Contains(s.Serials, entry.Serial) {
			continue
		}
		for k := range o.Parties {
			if p := &o.Parties[k]; p.Kind.InLedger && p.User == entry.User && !entry.At.Before(p.RevokeBefore) {
				return fmt.Sprintf("certificate %s of user %s is not to be revoked", entry.Serial, entry.User)
			}
		}
	}
	return ""
}
