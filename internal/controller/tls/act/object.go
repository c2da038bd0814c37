package act

import (
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// Object is what a step writes or speaks to, as a person would look for it.
func Object(cluster string, step plan.Step) string {
	authority := func(domain facts.Domain, generation int) string {
		return "Secret " + desired.AuthoritySecret(cluster, string(domain), generation)
	}
	switch s := step.(type) {
	case plan.CreateAuthority:
		return authority(s.Domain, s.Generation)
	case plan.TrustNew:
		return authority(s.Domain, s.Generation)
	case plan.RestoreAuthority:
		return authority(s.Domain, s.Generation)
	case plan.SwitchSigner:
		return authority(s.Domain, s.Generation)
	case plan.RollBack:
		return authority(s.Domain, s.Generation)
	case plan.DropOld:
		return authority(s.Domain, s.Active)
	case plan.DiscardAuthority:
		return authority(s.Domain, s.Generation)
	case plan.AdmitAnchor, plan.NoteUnused, plan.DropAnchor:
		return "Secret " + desired.TrustRecord(cluster)
	case plan.PublishTrust:
		return "ConfigMap " + desired.CAConfigMap(cluster)
	case plan.Publish:
		return "Secret " + s.Party
	case plan.Discard:
		return "Secret " + s.Party
	case plan.TakeBack:
		return s.Object.String()
	case plan.Revoke:
		return "Secret " + desired.ClientCertificateLedger(cluster)
	case plan.Activate:
		return "Pod " + s.Pod
	case plan.Retrigger:
		return "Pod " + s.Pod
	case plan.Prove:
		return "Pod " + s.Pod
	case plan.EndSessions:
		return "Pod " + s.Pod
	}
	return step.Key()
}
