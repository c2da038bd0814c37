package rekey

import (
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// rollBack undoes the newest generation when a person asks for it, or clients refuse it, and the one before it can still
// sign and is still trusted.
func (d *decision) rollBack() bool {
	from, to := d.Next, d.Active
	if from == nil {
		from, to = d.Active, d.predecessor()
	}
	asked := d.rekeyPolicy.Rollback != "" && d.rekeyPolicy.Rollback != from.RollbackSeen && !d.answeredBefore(d.rekeyPolicy.Rollback)
	possible := to != nil && to.Generation != d.rekeyPolicy.Tainted
	step := plan.RollBack{Domain: d.Domain, Reason: reason.RolledBack}
	switch {
	case asked && !possible:
		d.block(from.Name(), reason.NothingToRollBack,
			"no re-key of the %s domain can be undone: there is no other authority that is trusted, can sign and is not tainted; take the annotation pgtls.dev/rollback-requested-at away", d.Domain)
		return false
	case asked:
	case possible && from == d.Active && d.clientsRefuse(to):
		step.Reason = reason.ClientsRefuse
		now, was := refusalsSeen(d.observed, from, to)
		step.Message = fmt.Sprintf("clients refused leaves of g%d %s, and those of g%d %s", from.Generation, now, to.Generation, was)
	default:
		return false
	}
	step.Generation, step.To = from.Generation, to.Generation
	d.transition(step)
	return true
}

// answeredBefore reports whether a generation that is on its way out was rolled back at this request.
func (s *situation) answeredBefore(request string) bool {
	return slices.ContainsFunc(s.Retiring, func(a *facts.Authority) bool { return a.RollbackReason != "" && a.RollbackSeen == request })
}

// clientsRefuse reports whether clients refuse leaves of the active authority, and much more than they refused those of the one
// before. Some always refuse something, such as a scanner without a bundle, so it is the rate that counts.
func (s *situation) clientsRefuse(before *facts.Authority) bool {
	limit := s.policy.AutoRollback
	if s.Domain != facts.Server || limit.Refusals <= 0 || s.Active.SwitchedAt.IsZero() {
		return false
	}
	now, was := refusalsSeen(s.observed, s.Active, before)
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

// refusalsSeen adds up what the agents counted of the leaves of two authorities. A pod that does not know how often the leaves
// before were refused, because its agent started since, is no witness: UnknownIsNo.
func refusalsSeen(o *facts.Observed, now, before *facts.Authority) (of, was refusals) {
	for i := range o.Parties {
		for j := range o.Parties[i].Pods {
			report := o.Parties[i].Pods[j].Report
			if report == nil {
				continue
			}
			if old := refusalsOf(report, before); old.served > 0 {
				of, was = of.plus(refusalsOf(report, now)), was.plus(old)
			}
		}
	}
	return of, was
}

func (r refusals) plus(s refusals) refusals { return refusals{r.count + s.count, r.served + s.served} }

func refusalsOf(r *facts.Report, of *facts.Authority) (sum refusals) {
	for _, entry := range r.Refused {
		if entry.IssuerKeyID == of.Certificate.KeyID {
			sum = sum.plus(refusals{entry.Count, entry.Served})
		}
	}
	return sum
}
