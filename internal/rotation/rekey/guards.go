package rekey

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/served"
)

// --- Activation and RollBack

func switched(c *Case) plan.Gate { return plan.When(!c.Subject.SwitchedAt.IsZero()) }

func stillTrusted(c *Case) plan.Gate { return plan.When(slices.Contains(c.Set.Retiring, c.Subject)) }

// noneLacks: a note that dropped the old authority may have been lost, and then it is trusted anew. What gives no answer is not
// waited for: a roll-back is urgent, and before it the old authority was trusted everywhere.
func noneLacks(c *Case) plan.Gate {
	lacks := func(anchors []string) bool {
		return len(anchors) > 0 && !slices.Contains(anchors, c.Subject.Certificate.Fingerprint)
	}
	found := c.Set.Domain == facts.Server && c.Observed.PublicTrust.State == facts.Present && lacks(c.Observed.PublicTrust.Anchors)
	c.verifiers(func(p *facts.Party) bool {
		found = found || lacks(p.Material.Anchors.Of(c.Set.Domain))
		for i := range p.Pods {
			if report := p.Pods[i].Report; report != nil {
				found = found || lacks(report.Loaded.Of(c.Set.Domain))
			}
		}
		return !found
	})
	return plan.When(!found)
}

// --- TrustNew

func notRolledBack(c *Case) plan.Gate {
	if c.Subject.RolledBack == 0 || c.Reason == reason.Requested {
		return plan.Gate{}
	}
	return plan.Shut(plan.Block(c.Subject.Name(), reason.RekeyRolledBack, "the %s authority is to be re-keyed (%s) and its last re-key was rolled back: when the cause is removed, "+
		"set the annotation pgtls.dev/rotate-authority-requested-at to %s:<any new value>", c.Set.Domain, c.Reason, c.Set.Domain))
}

func otherDomainRests(c *Case) plan.Gate {
	busy := c.Pending
	for _, s := range c.Sets.all() {
		busy = busy || s != c.Set && s.Rekeying()
	}
	if !busy {
		return plan.Gate{}
	}
	return plan.Shut(plan.Block(c.Subject.Name(), reason.AwaitingOtherDomain, "the %s authority is to be re-keyed (%s) after the other domain's", c.Set.Domain, c.Reason))
}

// --- SwitchSigner

func clientsTrust(c *Case) plan.Gate {
	trust := &c.Observed.PublicTrust
	return plan.When(c.Set.Domain != facts.Server || trust.State == facts.Present && slices.Contains(trust.Anchors, c.Subject.Certificate.Fingerprint))
}

// verifiers visits the parties whose bundles count: each that verifies the domain and whose material is the cluster's.
func (c *Case) verifiers(visit func(*facts.Party) (goOn bool)) {
	for i := range c.Observed.Parties {
		p := &c.Observed.Parties[i]
		if p.Material.State != facts.Foreign && p.Kind.Verifies(c.Set.Domain) && !visit(p) {
			return
		}
	}
}

func materialTrusts(c *Case) plan.Gate {
	all := true
	c.verifiers(func(p *facts.Party) bool {
		all = c.Set.HasNoUsableLeaf(p) || served.Sound(p) && slices.Contains(p.Material.Anchors.Of(c.Set.Domain), c.Subject.Certificate.Fingerprint)
		return all
	})
	return plan.When(all)
}

// podsTrust names each pod that is settled and has not loaded the new authority. One that is not settled has a blocker of its own.
func podsTrust(c *Case) (gate plan.Gate) {
	c.verifiers(func(p *facts.Party) bool {
		if c.Set.HasNoUsableLeaf(p) {
			return true
		}
		for i := range p.Pods {
			switch pod := &p.Pods[i]; {
			case !served.Settled(p, pod):
				gate.Closed = true
			case !slices.Contains(pod.Report.Loaded.Of(c.Set.Domain), c.Subject.Certificate.Fingerprint):
				gate = gate.And(plan.Shut(plan.Block(pod.Name, reason.TrustNotLoaded,
					"pod %s uses its material and does not say that it has loaded the new %s authority: see its container agent", pod.Name, c.Set.Domain)))
			}
		}
		return true
	})
	return gate
}

// propagated gives clients that follow the ConfigMap the time to take the new authority where nothing vouches for it,
// because the key of the old one is lost. What they hold cannot be seen; they get as much time as there is: until a
// leaf has to be issued, and no more than the soak.
func propagated(c *Case) plan.Gate {
	if c.Set.Domain != facts.Server || c.Set.Active != nil || c.Subject.Created.IsZero() {
		return plan.Gate{}
	}
	since := c.Subject.Created
	if changed := c.Observed.PublicTrust.ChangedAt; changed.After(since) {
		since = changed
	}
	until := since.Add(c.Policy.RetireSoak)
	for i := range c.Observed.Parties {
		p := &c.Observed.Parties[i]
		for _, w := range p.Wants {
			leaf := p.Leaf(w.Domain)
			switch {
			case w.Domain != c.Set.Domain || p.Material.State == facts.Foreign:
			case leaf == nil || leaf.Problem != "":
				return plan.Gate{}
			case dueFrom(leaf, &w).Before(until):
				until = dueFrom(leaf, &w)
			}
		}
	}
	if !c.Observed.Now.Before(until) {
		return plan.Gate{}
	}
	return plan.Shut(plan.Block(c.Subject.Name(), reason.AwaitingTrustPropagation,
		"nothing vouches for the new authority, as the key of the old one is lost: clients that follow the ConfigMap are given until %s to take it", until.UTC().Format(time.RFC3339))).Until(until)
}

// dueFrom is when the jitter may first have a leaf renewed.
func dueFrom(leaf *facts.Leaf, w *facts.LeafWant) time.Time {
	return leaf.NotAfter.Add(-w.RenewBefore - w.RenewBefore/10)
}

// --- DropOld

// taintedSubject reports whether the user marked an authority as compromised.
func (c *Case) tainted(a *facts.Authority) bool {
	return c.Policy.Rekey[c.Set.Domain].Tainted == a.Generation
}

// issuersExpired reports whether nothing of the old authority is of use to a client any more, or may be.
func (c *Case) ofNoUse() bool { return c.tainted(c.Subject) || !c.Subject.Usable(c.Observed.Now) }

func (c *Case) approved() bool {
	return c.Policy.Rekey[c.Set.Domain].Approved == c.Subject.Generation
}

// rollingBack reports whether the old authority is the newer one.
func (c *Case) rollingBack() bool { return c.Subject.Generation > c.Set.Active.Generation }

// emergency reports whether the old authority is dropped without soak.
func (c *Case) emergency() bool {
	return c.rollingBack() || c.ofNoUse() || c.tainted(c.Set.Active)
}

// presenters visits the parties that present leaves of the domain and whose material is the cluster's.
func (c *Case) presenters(holds func(*facts.Party) bool) plan.Gate {
	for i := range c.Observed.Parties {
		p := &c.Observed.Parties[i]
		if p.Material.State != facts.Foreign && p.WantsLeaf(c.Set.Domain) && !holds(p) {
			return plan.When(false)
		}
	}
	return plan.Gate{}
}

func reissued(c *Case) plan.Gate {
	return c.presenters(func(p *facts.Party) bool {
		return served.Sound(p) && p.Leaf(c.Set.Domain).IssuerKeyID == c.Set.Active.Certificate.KeyID
	})
}

func podsSettled(c *Case) plan.Gate {
	return c.presenters(func(p *facts.Party) bool {
		for i := range p.Pods {
			if !served.Settled(p, &p.Pods[i]) {
				return false
			}
		}
		return true
	})
}

func noLeftovers(c *Case) (gate plan.Gate) {
	for _, leftover := range c.Observed.Leftovers {
		if leftover.Domain == c.Set.Domain && leftover.IssuerKeyID != c.Set.Active.Certificate.KeyID {
			gate = gate.And(plan.Shut(plan.Block(leftover.Party, reason.StillInUse,
				"material %s of a pod that is going away was issued by an authority that is to be dropped", leftover.Party)))
		}
	}
	return gate
}

// noSessions: a client from elsewhere that came in with a client certificate of the old authority would be refused when it
// reconnects. The cluster's own pods reconnect with what was published for them.
func noSessions(c *Case) (gate plan.Gate) {
	if c.Set.Domain != facts.Client || c.ofNoUse() {
		return gate
	}
	for i := range c.Observed.Parties {
		p := &c.Observed.Parties[i]
		for j := range p.Pods {
			if p.Kind.AuthenticatesClients {
				gate = gate.And(sessionsGone(&p.Pods[j], c.Subject))
			}
		}
	}
	return gate
}

func sessionsGone(pod *facts.Pod, old *facts.Authority) plan.Gate {
	if !pod.SessionsKnown {
		return plan.Shut(plan.Block(pod.Name, reason.SessionsUnknown, "the sessions of pod %s could not be read, and some may have come with a certificate of client g%d", pod.Name, old.Generation))
	}
	for _, s := range pod.Sessions {
		if s.Generation == old.Generation {
			return plan.Shut(plan.Block(pod.Name, reason.StillInUse, "user %s is connected to pod %s from %s with a certificate that client g%d issued: issue a new certificate and reconnect",
				s.User, pod.Name, s.Address, old.Generation))
		}
	}
	return plan.Gate{}
}

// noneOutstanding: the certificates of a lost authority are as good as before; of one that has ended, or must not be trusted, none is.
func noneOutstanding(c *Case) plan.Gate {
	if c.Set.Domain != facts.Client || c.tainted(c.Subject) || c.Subject.Expired(c.Observed.Now) || c.approved() {
		return plan.Gate{}
	}
	return c.Revocation.Outstanding(c.Observed, c.Subject)
}

func soaked(c *Case) plan.Gate {
	old := c.Subject
	until := c.Set.Active.SwitchedAt.Add(c.Policy.RetireSoak)
	switch {
	case c.emergency() || c.approved():
		return plan.Gate{}
	case c.Policy.RetireManual:
		return plan.Shut(plan.Block(old.Name(), reason.AwaitingApproval, "nothing uses the %s authority g%d any more: set the annotation pgtls.dev/retire-approved to %s-g%d to drop it from every bundle",
			c.Set.Domain, old.Generation, c.Set.Domain, old.Generation))
	case c.Observed.Now.Before(until):
		return plan.Shut(plan.Block(old.Name(), reason.AwaitingSoak, "nothing uses the %s authority g%d any more; it stays trusted until %s (spec.tls.rotation.retireSoak)",
			c.Set.Domain, old.Generation, until.UTC().Format(time.RFC3339))).Until(until)
	}
	return plan.Gate{}
}

// --- DiscardAuthority

func clientsForget(c *Case) plan.Gate {
	trust := &c.Observed.PublicTrust
	return plan.When(c.Set.Domain != facts.Server || trust.State == facts.Foreign ||
		trust.State == facts.Present && !slices.Contains(trust.Anchors, c.Subject.Certificate.Fingerprint))
}

func materialForgets(c *Case) plan.Gate {
	none := true
	c.verifiers(func(p *facts.Party) bool {
		none = served.Sound(p) && !slices.Contains(p.Material.Anchors.Of(c.Set.Domain), c.Subject.Certificate.Fingerprint)
		return none
	})
	return plan.When(none)
}

func podsForget(c *Case) plan.Gate {
	none := true
	c.verifiers(func(p *facts.Party) bool {
		for i := range p.Pods {
			pod := &p.Pods[i]
			none = none && served.Settled(p, pod) && len(pod.Report.Loaded.Of(c.Set.Domain)) > 0 &&
				!slices.Contains(pod.Report.Loaded.Of(c.Set.Domain), c.Subject.Certificate.Fingerprint)
		}
		return none
	})
	return plan.When(none)
}
