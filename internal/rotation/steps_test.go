package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/rotation/external"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/rekey"
	"pgtls.dev/pgtls/internal/rotation/revocation"
)

// What tests read out of plans and steps.

// isA reports whether a step is of a kind.
func isA[T plan.Step](s plan.Step) bool { _, is := s.(T); return is }

// has reports whether a plan has a step of a kind.
func has[T plan.Step](planned plan.Plan) bool {
	return slices.ContainsFunc(planned.Steps(), isA[T])
}

// podOf returns the pod that a step is about, "" when it is about none.
func podOf(s plan.Step) string {
	switch s := s.(type) {
	case plan.Activate:
		return s.Pod
	case plan.Retrigger:
		return s.Pod
	case plan.Prove:
		return s.Pod
	case plan.EndSessions:
		return s.Pod
	}
	return ""
}

// partyOf returns the party whose material or pod a step is about, "" when it is about none.
func partyOf(s plan.Step) string {
	switch s := s.(type) {
	case plan.Publish:
		return s.Party
	case plan.Discard:
		return s.Party
	case plan.Activate:
		return s.Party
	case plan.Retrigger:
		return s.Party
	case plan.Prove:
		return s.Party
	case plan.EndSessions:
		return s.Party
	}
	return ""
}

// transitionOf returns the domain that a transition of a re-key is about, "" for any other step.
func transitionOf(s plan.Step) facts.Domain {
	switch s := s.(type) {
	case plan.TrustNew:
		return s.Domain
	case plan.SwitchSigner:
		return s.Domain
	case plan.RollBack:
		return s.Domain
	case plan.DropOld:
		return s.Domain
	case plan.DiscardAuthority:
		return s.Domain
	}
	return ""
}

func dropAnchor(domain facts.Domain, anchor string) plan.Step {
	return plan.DropAnchor{AnchorStep: plan.AnchorStep{Domain: domain, Anchor: anchor}}
}

// rekeying are the kinds of steps that change what is trusted or which authority is active, and those that keep authorities.
var rekeying = []string{"CreateAuthority", "RestoreAuthority", "TrustNew", "SwitchSigner", "RollBack", "DropOld", "DiscardAuthority",
	"AdmitAnchor", "NoteUnused", "DropAnchor"}

// without returns the rules but for one guard, verifier or chain rule, which must be there.
func without(name string) Rules {
	r, found := Standard(), false
	for _, guards := range []*[]rekey.Guard{&r.Rekey.Activation, &r.Rekey.TrustNew, &r.Rekey.SwitchSigner, &r.Rekey.RollBack, &r.Rekey.DropOld, &r.Rekey.DiscardAuthority} {
		*guards = slices.DeleteFunc(*guards, named(name, &found, func(g rekey.Guard) string { return g.Name }))
	}
	r.Rekey.Chain = slices.DeleteFunc(r.Rekey.Chain, named(name, &found, func(c rekey.ChainRule) string { return c.Name }))
	r.External.Trust = slices.DeleteFunc(r.External.Trust, named(name, &found, func(v external.Verifier) string { return v.Name }))
	r.External.Propagation = slices.DeleteFunc(r.External.Propagation, named(name, &found, func(g external.Guard[*external.Adopting]) string { return g.Name }))
	r.External.DropAnchor = slices.DeleteFunc(r.External.DropAnchor, named(name, &found, func(g external.Guard[*external.Case]) string { return g.Name }))
	if !found {
		panic("no guard is called " + name)
	}
	return r
}

// The names of the guards that tests leave out.
const (
	guardSwitched        = "it was switched to"
	guardClientsTrust    = "the clients' ConfigMap holds the new authority"
	guardMaterialTrusts  = "all material holds the new authority"
	guardPodTrusts       = "every pod has loaded the new authority"
	guardFollowers       = "clients had the time to take the new authority where nothing vouches for it"
	guardTrusted         = "the old authority is still trusted"
	guardReissued        = "every published leaf is of the active authority"
	guardSettled         = "every pod is settled"
	guardLeftovers       = "no pod on its way out uses the old authority"
	guardSessions        = "no session came in with a certificate of the old authority"
	guardLedger          = "no application holds a certificate of the old authority"
	guardSoaked          = "the soak is over, or a person approved"
	guardClientsForget   = "the clients' ConfigMap does not hold it"
	guardMaterialForget  = "no material holds it"
	guardPodForgets      = "no pod has loaded it"
	guardBridge          = "the bridge from the authority before"
	guardSecondBridge    = "the bridge from the authority before that"
	guardAnchorClients   = externalGuard + "the clients' ConfigMap holds its anchor"
	guardAnchorMaterial  = externalGuard + "all material holds its anchor"
	guardAnchorPod       = externalGuard + "every pod has loaded its anchor"
	guardAnchorFollowed  = externalGuard + "clients had the time to take its anchor"
	guardAnchorPublished = externalGuard + "nothing that is published needs the anchor"
	guardAnchorSettled   = externalGuard + "every pod is settled"
	guardAnchorSessions  = externalGuard + "no session came in with a certificate that it vouches for"
)

func named[G any](name string, found *bool, of func(G) string) func(G) bool {
	return func(g G) bool {
		is := strings.TrimPrefix(name, externalGuard) == of(g) && strings.HasPrefix(name, externalGuard) == isExternal(g)
		*found = *found || is
		return is
	}
}

// externalGuard tells the guards about external anchors from those of a re-key, where they are called the same.
const externalGuard = "external: "

func isExternal(g any) bool {
	switch g.(type) {
	case rekey.Guard, rekey.ChainRule:
		return false
	}
	return true
}

// derive returns the roles of the generations of both domains.
func derive(policy facts.Policy, o facts.Observed) *rekey.Sets {
	state := revocation.Assess(&o)
	return rekey.Standard().Derive(&policy, &o, external.Admitted(&o, &state))
}

// words tells a plan in one line a step and a blocker, without revisions, which mean nothing to a reader: what is stored comes
// before what is done with pods.
func words(planned plan.Plan) []string {
	var lines []string
	steps := planned.Steps()
	slices.SortStableFunc(steps, func(a, b plan.Step) int { return cmp.Compare(order(a), order(b)) })
	for _, s := range steps {
		lines = append(lines, stepWords(s))
	}
	for _, b := range planned.Blockers {
		lines = append(lines, fmt.Sprintf("wait for %s: %s", b.Party, b.Reason))
	}
	return lines
}

func order(s plan.Step) int {
	if transitionOf(s) != "" || isA[plan.DropAnchor](s) {
		return 1
	}
	switch s.(type) {
	case plan.CreateAuthority, plan.RestoreAuthority, plan.TakeBack:
		return 0
	case plan.Revoke:
		return 2
	case plan.AdmitAnchor, plan.NoteUnused:
		return 3
	case plan.PublishTrust, plan.Publish:
		return 4
	case plan.Discard:
		return 5
	case plan.EndSessions:
		return 7
	}
	return 6
}

func stepWords(s plan.Step) string {
	switch s := s.(type) {
	case plan.Publish:
		return fmt.Sprintf("publish %s %v%s: %s", s.Party, s.Reissue, s.Presents(), s.Reason)
	case plan.AdmitAnchor:
		return fmt.Sprintf("admitanchor %s %s: %s", s.Domain, s.Anchor, s.Reason)
	case plan.NoteUnused:
		return fmt.Sprintf("noteunused %s %s: %s", s.Domain, s.Anchor, s.Reason)
	case plan.DropAnchor:
		return fmt.Sprintf("dropanchor %s %s: %s", s.Domain, s.Anchor, s.Reason)
	case plan.Activate:
		return "activate " + s.Pod
	case plan.Retrigger:
		return "retrigger " + s.Pod
	case plan.Prove:
		return "prove " + s.Pod
	case plan.Revoke:
		return fmt.Sprintf("revoke %v: %s", s.Serials, s.Reason)
	case plan.EndSessions:
		return "end sessions " + s.Pod
	case plan.Discard:
		return "discard " + s.Party
	case plan.TakeBack:
		return "take back " + s.Object.String()
	case plan.PublishTrust:
		return fmt.Sprintf("publish ca: %s", s.Reason)
	case plan.CreateAuthority:
		return fmt.Sprintf("create %s g%d: %s", s.Domain, s.Generation, s.Reason)
	case plan.RestoreAuthority:
		if s.Copy {
			return fmt.Sprintf("restore copy of %s g%d: %s", s.Domain, s.Generation, s.Reason)
		}
		return fmt.Sprintf("restore %s g%d: %s", s.Domain, s.Generation, s.Reason)
	case plan.TrustNew:
		return fmt.Sprintf("trustnew %s g%d: %s", s.Domain, s.Generation, s.Reason)
	case plan.SwitchSigner:
		return fmt.Sprintf("switchsigner %s g%d: %s", s.Domain, s.Generation, s.Reason)
	case plan.RollBack:
		return fmt.Sprintf("rollback %s g%d: %s", s.Domain, s.Generation, s.Reason)
	case plan.DropOld:
		return fmt.Sprintf("dropold %s g%d: %s", s.Domain, s.Generation, s.Reason)
	case plan.DiscardAuthority:
		return fmt.Sprintf("discard %s g%d: %s", s.Domain, s.Generation, s.Reason)
	}
	return "a step without words: " + s.String()
}
