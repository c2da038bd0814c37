package rotation

import (
	"fmt"
	"slices"
	"time"
)

// Anchor is a trust anchor from elsewhere: the issuer of a custom certificate, or an authority that the user wants trusted
// besides.
type Anchor struct {
	Domain      Domain
	Fingerprint string
	Subject     string
	NotAfter    time.Time
	// Wanted: a Secret or ConfigMap that the spec names holds it.
	Wanted bool
	// Held: it may be wanted, for a Secret or ConfigMap that the spec names cannot be read or is refused. It is not dropped.
	Held bool
	// Admitted: it is noted as trusted, and every bundle of its domain is to hold it.
	Admitted bool
	// AdmittedAt is when that was noted.
	AdmittedAt time.Time
	// UnusedSince is when it was noted that nothing wants or presents it any more; zero: that was not noted.
	UnusedSince time.Time
}

// foreign keeps the anchors from elsewhere: trusted before anything that they issued is presented, and dropped when nothing
// wants or presents them any more and the soak is over.
func (d *decision) foreign() {
	for i := range d.observed.Foreign {
		a := &d.observed.Foreign[i]
		switch {
		case a.Wanted && d.withheld(a):
			d.tellWithheld(a)
		case a.Wanted && (!a.Admitted || !a.UnusedSince.IsZero()):
			d.write(Step{Op: AdmitAnchor, Domain: a.Domain, Anchor: a.Fingerprint, Reason: ReasonWanted, Message: a.Subject})
		case a.Admitted && !a.Wanted && !a.Held:
			d.dropAnchor(a)
		}
	}
}

// dropAnchor lets go of an anchor from elsewhere.
func (d *decision) dropAnchor(a *Anchor) {
	drop := Step{Op: DropAnchor, Domain: a.Domain, Anchor: a.Fingerprint, Reason: ReasonUnused, Message: a.Subject}
	name := anchorName(a)
	d.wakeAt(a.NotAfter)
	switch soaked := a.UnusedSince.Add(d.policy.RetireSoak); {
	case !d.observed.Now.Before(a.NotAfter):
		d.turn(drop) // nobody accepts anything for its sake any more
	case !d.anchorUnused(a):
	case a.UnusedSince.IsZero():
		d.write(Step{Op: NoteUnused, Domain: a.Domain, Anchor: a.Fingerprint, Reason: ReasonUnused, Message: a.Subject})
	case slices.Contains(d.policy.ApprovedAnchors, name):
		d.turn(drop)
	case d.policy.RetireManual:
		d.block(name, AwaitingApproval, "nothing presents what %s issued any more: set the annotation pgtls.dev/retire-approved to %s to drop it from every bundle", a.Subject, name)
	case d.observed.Now.Before(soaked):
		d.block(name, AwaitingSoak, "nothing presents what %s issued any more; it stays trusted until %s (spec.tls.rotation.retireSoak)", a.Subject, soaked.UTC().Format(time.RFC3339))
		d.wakeAt(soaked)
	default:
		d.turn(drop)
	}
}

// anchorName is how a person names an anchor: its domain and the first of its fingerprint.
func anchorName(a *Anchor) string {
	return fmt.Sprintf("%s-%.12s", a.Domain, a.Fingerprint)
}

// anchorUnused reports whether nothing that is published or used is known, or could be, to need an anchor.
func (d *decision) anchorUnused(a *Anchor) bool {
	unused := true
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		if p.Material.State == Foreign {
			continue
		}
		if c := p.Material.custom(a.Domain); !d.holds(guardAnchorPublished, p.sound() && (c == nil || !slices.Contains(c.Anchors, a.Fingerprint))) {
			return false
		}
		for j := range p.Pods {
			pod := &p.Pods[j]
			if !d.holds(guardAnchorSettled, settled(p, pod)) {
				return false
			}
			if a.Domain == Client && p.Kind == Instance && !d.holds(guardAnchorSessions, d.foreignSessionsGone(pod, a)) {
				unused = false
			}
		}
	}
	return unused
}

// foreignSessionsGone reports whether nobody is connected with a certificate for whose sake an anchor is trusted. A session
// shows who issued its certificate and not where the chain ended: an issuer that nobody can place may be this one's.
func (d *decision) foreignSessionsGone(pod *Pod, a *Anchor) bool {
	if !pod.SessionsKnown {
		d.block(pod.Name, SessionsUnknown, "the sessions of pod %s could not be read, and some may have come with a certificate that %s issued", pod.Name, a.Subject)
		return false
	}
	for _, s := range pod.Sessions {
		if s.Generation == 0 && (s.Issuer == a.Subject || !d.placed(s.Issuer, a.Domain)) {
			d.block(pod.Name, StillInUse, "user %s is connected to pod %s from %s with a certificate that %s issued, which is to be trusted no longer: give him a new one, let him connect anew",
				s.User, pod.Name, s.Address, s.Issuer)
			return false
		}
	}
	return true
}

// placed reports whether an issuer is itself an anchor from elsewhere.
func (d *decision) placed(subject string, domain Domain) bool {
	return slices.ContainsFunc(d.observed.Foreign, func(a Anchor) bool { return a.Domain == domain && a.Subject == subject })
}

// admitted returns the fingerprints of the anchors from elsewhere that every bundle of a domain is to hold.
func (d *decision) admitted(domain Domain) (anchors []string) {
	for i := range d.observed.Foreign {
		if a := &d.observed.Foreign[i]; a.Domain == domain && (a.Admitted || a.Wanted) && !d.withheld(a) {
			anchors = append(anchors, a.Fingerprint)
		}
	}
	return anchors
}
