package rollout

import (
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// stageOf places a party: where its kind stands, or last when one of its pods is seen to be the primary.
func stageOf(p *facts.Party) party.Stage {
	if p.Kind.Stage != party.StageReplicas {
		return p.Kind.Stage
	}
	for i := range p.Pods {
		if p.Pods[i].Primary {
			return party.StagePrimary
		}
	}
	return p.Kind.Stage
}
