package rotation

import (
	"fmt"
	"slices"
	"time"
)

// rollBack undoes the newest generation when a person asks for it, or clients refuse it, and the one before it can still
// sign and is still trusted.
func (d *decision) rollBack(l *lineage, policy RekeyPolicy) bool {
	from, to := l.next, l.signer
	if from == nil && l.signer != nil {
		from, to = l.signer, d.predecessor(l)
	}
	asked := policy.Rollback != "" && from != nil && policy.Rollback != from.RollbackSeen
	possible := from != nil && to != nil && to.Generation != policy.Tainted
	step := Step{Op: RollBack, Domain: l.domain, Reason: ReasonRolledBack}
	switch {
	case asked && !possible:
		d.block(authorityName(l.domain, from.Generation), NothingToRollBack,
			"no re-key of the %s domain can be undone: there is no other authority that is trusted, can sign and is not tainted; take the annotation pgtls.dev/rollback-requested-at away", l.domain)
		return false
	case asked:
	case possible && from == l.signer && d.clientsRefuse(l, to):
		step.Reason = ReasonClientsRefuse
		now, was := d.refusals(from, to)
		step.Message = fmt.Sprintf("clients refused leaves of g%d %s, and those of g%d %s", from.Generation, now, to.Generation, was)
	default:
		return false
	}
	step.Generation, step.Signer = from.Generation, to.Generation
	d.turn(step)
	return true
}

// predecessor returns the newest older generation that is still trusted and could sign in place of the signer; nil if there is none.
func (d *decision) predecessor(l *lineage) (found *Authority) {
	for _, a := range slices.Concat(l.dropped, l.leaving) {
		if a.Generation < l.signer.Generation && a.usable(d.observed.Now) && d.holds(guardTrusted, slices.Contains(l.leaving, a)) {
			found = a
		}
	}
	return found
}

// clientsRefuse reports whether clients refuse leaves of the signer, and much more than they refused those of the one before.
// Some always refuse something, such as a scanner without a bundle, so it is the rate that counts.
func (d *decision) clientsRefuse(l *lineage, before *Authority) bool {
	limit := d.policy.AutoRollback
	if l.domain != Server || limit.Refusals <= 0 || l.signer.SwitchedAt.IsZero() {
		return false
	}
	now, was := d.refusals(l.signer, before)
	return now.count >= limit.Refusals && now.rate() > float64(limit.Factor)*was.rate()
}

// refusals of leaves of one authority, by all clients of all pods.
type refusals struct {
	count  int
	served time.Duration // of all pods together
}

func (r refusals) rate() float64 {
	if r.count == 0 {
		return 0
	}
	return float64(r.count) / max(r.served, time.Second).Seconds()
}

func (r refusals) String() string {
	return fmt.Sprintf("%d in %s of serving", r.count, r.served.Round(time.Second))
}

// refusals adds up what the agents counted of the leaves of two authorities. A pod that does not know how often the leaves
// before were refused, because its agent started since, is no witness: UnknownIsNo.
func (d *decision) refusals(now, before *Authority) (of, was refusals) {
	for i := range d.observed.Parties {
		for j := range d.observed.Parties[i].Pods {
			report := d.observed.Parties[i].Pods[j].Report
			if report == nil {
				continue
			}
			if old := report.refusals(before); old.served > 0 {
				of, was = of.plus(report.refusals(now)), was.plus(old)
			}
		}
	}
	return of, was
}

func (r refusals) plus(s refusals) refusals { return refusals{r.count + s.count, r.served + s.served} }

func (r *Report) refusals(of *Authority) (sum refusals) {
	for _, entry := range r.Refused {
		if entry.IssuerKeyID == of.Certificate.KeyID {
			sum = sum.plus(refusals{entry.Count, entry.Served})
		}
	}
	return sum
}
