package rollout

import "pgtls.dev/pgtls/internal/rotation/facts"

// stage is a party's place in the order of a rollout.
type stage int

// The stages. The canary is the first of the replicas.
const (
	stageOperator stage = iota
	stageReplicas
	stagePoolers
	stagePrimary
)

var stages = [...]stage{stageOperator, stageReplicas, stagePoolers, stagePrimary}

// stageOf places a party. An instance without a known role counts as a replica:
// the primary is the one that is seen to be it.
func stageOf(p *facts.Party) stage {
	switch p.Kind {
	case facts.Operator, facts.Application: // has no pod, and waits for none
		return stageOperator
	case facts.Pooler:
		return stagePoolers
	case facts.Instance:
		for i := range p.Pods {
			if p.Pods[i].Primary {
				return stagePrimary
			}
		}
	}
	return stageReplicas
}
