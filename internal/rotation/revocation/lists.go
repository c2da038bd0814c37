package revocation

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/served"
)

// Lists are what instances are to have: none while nothing that a verifier accepts is revoked, else one of each authority that
// they trust. PostgreSQL refuses a client of an authority without one.
type Lists struct {
	Wanted facts.Revocations // nil: none
	Keep   bool              // what instances have stays as it is
	Gate   plan.Gate
}

// ListsOf works them out. issuers are the client authorities that are to be trusted.
func (s *State) ListsOf(o *facts.Observed, issuers []*facts.Authority) Lists {
	if len(issuers) == 0 {
		return Lists{Keep: true}
	}
	wanted, some := facts.Revocations{}, false
	for _, a := range issuers {
		serials := s.revokedOf(o, a)
		wanted[a.Certificate.KeyID] = serials
		some = some || len(serials) > 0
	}
	if !some {
		return Lists{}
	}
	lists := Lists{Wanted: wanted}
	for _, a := range issuers {
		lists.settleFor(o, a)
	}
	for i := range o.External {
		if a := &o.External[i]; accepted(o, a) {
			lists.Keep = true
			lists.Gate = lists.Gate.And(plan.Shut(plan.Block(AnchorName(a), reason.CRLMissing, "certificates are revoked, and the revocation list of %s, whose client certificates PostgreSQL accepts, is not known: "+
				"with the lists of the others PostgreSQL would refuse all of them; take the anchor away from spec, or the login from the users whose certificates are revoked", a.Subject)))
		}
	}
	return lists
}

// revokedOf are the serial numbers that are to stand on the list of an authority, sorted.
func (s *State) revokedOf(o *facts.Observed, a *facts.Authority) (serials []string) {
	for _, entry := range o.Ledger.Issued {
		if entry.IssuerKeyID == a.Certificate.KeyID && s.Serials[entry.Serial] {
			serials = append(serials, entry.Serial)
		}
	}
	if !s.Readable { // what was revoked stays so
		for i := range o.Parties {
			serials = append(serials, o.Parties[i].Material.Revoked[a.Certificate.KeyID]...)
		}
	}
	slices.Sort(serials)
	return slices.Compact(serials)
}

// settleFor takes what there is of an authority that can sign no list: the one that some instance has. It may lack what was
// revoked since, but without any the lists of the others cannot be checked either. One that has expired needs none.
func (l *Lists) settleFor(o *facts.Observed, a *facts.Authority) {
	key := a.Certificate.KeyID
	if a.Problem == "" || a.Expired(o.Now) {
		return
	}
	there, list := false, []string(nil)
	for i := range o.Parties {
		if published, found := o.Parties[i].Material.Revoked[key]; found && len(published) >= len(list) {
			there, list = true, published
		}
	}
	if there && facts.Within(l.Wanted[key], list) {
		l.Wanted[key] = list
		return
	}
	l.Wanted[key] = list
	l.Keep = l.Keep || !there
	l.Gate = l.Gate.And(plan.Shut(plan.Block(a.Name(), reason.CRLMissing, "certificates are revoked, and the list of client g%d cannot be signed without its key: "+
		"they are refused once it is dropped (the annotation pgtls.dev/retire-approved); until then take the login away from their users", a.Generation)))
}

// Current reports whether a party's lists are as they should be. What has ended may stay on them until they are written for another
// reason.
func (l *Lists) Current(p *facts.Party) bool {
	switch {
	case !p.Kind.AuthenticatesClients:
		return p.Material.Revoked == nil
	case l.Wanted == nil || l.Keep:
		return true
	default:
		return p.Material.Revoked.Holds(l.Wanted)
	}
}

// AnchorName is how a person names an external trust anchor: its domain and the first 12 digits of its fingerprint.
func AnchorName(a *facts.Anchor) string {
	return fmt.Sprintf("%s-%.12s", a.Domain, a.Fingerprint)
}

// accepted reports whether bundles hold an external anchor for the sake of its client certificates.
func accepted(o *facts.Observed, a *facts.Anchor) bool {
	return a.Domain == facts.Client && a.Admitted && o.Now.Before(a.NotAfter)
}

// Withheld reports whether an external anchor has to wait, because PostgreSQL checks revocation lists, or is about to: there is
// none of it, so that every client that it vouches for would be refused, and no agent would take the material.
func (s *State) Withheld(o *facts.Observed, a *facts.Anchor) bool {
	if a.Domain != facts.Client || a.Admitted {
		return false
	}
	listed := slices.ContainsFunc(o.Parties, func(p facts.Party) bool { return p.Material.Revoked.Some() })
	if len(s.Serials) == 0 && (s.Readable || !listed) {
		return false // the lists end with the write that adds it
	}
	return listed || !slices.ContainsFunc(o.External, func(a facts.Anchor) bool { return accepted(o, &a) })
}

// AuthenticationTimeout is how long a client that has shown its certificate may take to log in (PostgreSQL's
// authentication_timeout is a minute): a client that showed a certificate just before it was refused is in by then.
const AuthenticationTimeout = 70 * time.Second

// Sessions are the lanes that end the sessions that came in with revoked certificates, on each pod that is settled with the lists.
// No client comes in with one after that, but for those that were about to: so it is done once more.
func Sessions(o *facts.Observed) (lanes []plan.Lane, wake time.Time) {
	for i := range o.Parties {
		p := &o.Parties[i]
		if !p.Kind.AuthenticatesClients || !p.Material.Revoked.Some() {
			continue
		}
		lists := p.Material.Revoked.String()
		for j := range p.Pods {
			pod := &p.Pods[j]
			again := pod.Terminated.First.Add(AuthenticationTimeout)
			switch {
			case !served.Settled(p, pod):
			case pod.Terminated.Lists != lists, pod.Terminated.Last.Before(again) && !o.Now.Before(again):
				lanes = append(lanes, plan.Lane{Of: pod.Name, Steps: []plan.Step{plan.EndSessions{Party: p.Name, Pod: pod.Name}}})
			case pod.Terminated.Last.Before(again):
				wake = plan.Sooner(wake, again)
			}
		}
	}
	return lanes, wake
}

// patience is how long a revocation goes through the gates like anything else.
const patience = 5 * time.Second

// Urgent is the gate of asking a pod although an earlier one is not settled: the pod lets in clients that it must not. One pod
// goes first, and when it was seen to refuse the revoked and no other certificate, all others follow at once. A pod that is broken
// for another reason must not keep them from it for long. Where the lists themselves may be what is wrong, because a pod that has
// loaded them is not settled, they wait: every client might be refused.
func Urgent(o *facts.Observed, p *facts.Party, pod *facts.Pod) plan.Gate {
	at, missing := listsDue(o, p, pod)
	if !missing || listsInDoubt(o) {
		return plan.When(false)
	}
	if o.Now.Before(at) {
		return plan.When(false).Until(at)
	}
	return plan.Gate{}
}

// listsDue returns since when a pod may wait no longer for lists that are published, and whether it is known to lack one of what
// is on them.
func listsDue(o *facts.Observed, p *facts.Party, pod *facts.Pod) (at time.Time, missing bool) {
	if !p.Kind.AuthenticatesClients || pod.Report == nil || p.Material.Revoked == nil {
		return at, false
	}
	for _, entry := range o.Ledger.Issued {
		published, listed := p.Material.Lists[entry.IssuerKeyID]
		has, some := pod.Report.Lists[entry.IssuerKeyID]
		if entry.RevokedAt.IsZero() || !listed || !slices.Contains(p.Material.Revoked[entry.IssuerKeyID], entry.Serial) {
			continue
		}
		if some && (has >= published || entry.RevokedAt.Unix() < has) {
			continue // it has this list, or one that was signed after the revocation
		}
		if late := entry.RevokedAt.Add(patience); !missing || late.Before(at) {
			at, missing = late, true
		}
	}
	if missing && listsProven(o, p.Material.Lists) {
		at = at.Add(-patience)
	}
	return at, missing
}

// listsProven reports whether some pod was seen to be well with lists of these numbers.
func listsProven(o *facts.Observed, numbers facts.ListNumbers) bool {
	return anyInstance(o, func(p *facts.Party, pod *facts.Pod) bool {
		return pod.Report != nil && maps.Equal(pod.Report.Lists, numbers) && served.Settled(p, pod)
	})
}

// listsInDoubt reports whether some pod has loaded published lists and is not settled.
func listsInDoubt(o *facts.Observed) bool {
	return anyInstance(o, func(p *facts.Party, pod *facts.Pod) bool {
		return p.Material.Revoked != nil && pod.Report != nil && maps.Equal(pod.Report.Lists, p.Material.Lists) && !served.Settled(p, pod)
	})
}

func anyInstance(o *facts.Observed, is func(*facts.Party, *facts.Pod) bool) bool {
	for i := range o.Parties {
		p := &o.Parties[i]
		if !p.Kind.AuthenticatesClients {
			continue
		}
		for j := range p.Pods {
			if is(p, &p.Pods[j]) {
				return true
			}
		}
	}
	return false
}

func certificates(n int) string {
	if n == 1 {
		return "1 certificate"
	}
	return fmt.Sprintf("%d certificates", n)
}
