package cluster

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/patroni"
)

// configurePatroni makes Patroni's dynamic configuration what the spec says, once there is a primary to hold it.
func configurePatroni(ctx context.Context, r *round) ([]Wait, error) {
	if len(r.facts.pods) == 0 {
		return nil, nil // a new cluster starts with it
	}
	ha := r.patroni(ctx)
	if ha.wait != nil {
		return []Wait{*ha.wait}, nil
	}
	if !ha.hasLeader() {
		return []Wait{{Party: r.cluster.Name, Reason: AwaitingPrimary, Message: "there is no primary yet", Again: soon}}, nil
	}
	want, err := desired.DynamicConfiguration(r.cluster)
	if err != nil {
		return nil, err
	}
	have, err := ha.answers.Config(ctx)
	if err != nil {
		return []Wait{r.awaitPatroni(err)}, nil
	}
	want = withRemovals(have, want)
	if len(patroni.Difference(have, want)) == 0 {
		return nil, nil
	}
	if err := r.applier.Permit(ctx, r.cluster.Namespace); err != nil {
		return nil, err
	}
	if _, err := ha.answers.PatchConfig(ctx, want); err != nil {
		return []Wait{r.awaitPatroni(err)}, nil
	}
	r.tell(nil, ConfigurationChanged, "Configure", "changed Patroni's dynamic configuration")
	// Patroni says only at its next loop whether PostgreSQL needs a restart.
	return []Wait{{Party: r.cluster.Name, Reason: ConfigurationChanged, Message: "Patroni takes its changed configuration", Again: patroniLoop(r.cluster)}}, nil
}

// awaitPatroni says in one line that Patroni does not do what it was asked; its own pages of HTML tell nobody anything.
func (r *round) awaitPatroni(err error) Wait {
	message := unanswered(err)
	if refused := (*patroni.StatusError)(nil); errors.As(err, &refused) {
		message = "Patroni answers " + strconv.Itoa(refused.Status) + " " + http.StatusText(refused.Status)
	}
	return Wait{Party: r.cluster.Name, Reason: AwaitingPatroni, Message: message, Again: soon}
}

// patroniLoop is how long until Patroni has looked at everything again.
func patroniLoop(cluster *v1beta1.PostgresCluster) time.Duration {
	seconds := int32(10)
	if cluster.Spec.Patroni != nil {
		seconds = ptr.Deref(cluster.Spec.Patroni.SyncPeriodSeconds, seconds)
	}
	return time.Duration(seconds+1) * time.Second
}

func (h *haView) hasLeader() bool {
	for _, state := range h.members {
		if state.Leader {
			return true
		}
	}
	return false
}

// withRemovals is want with a nil, which removes, for each key that only have has.
func withRemovals(have, want map[string]any) map[string]any {
	merged := make(map[string]any, len(want))
	for key := range have {
		merged[key] = nil
	}
	for key, value := range want {
		inner, isObject := value.(map[string]any)
		haveInner, wasObject := have[key].(map[string]any)
		if isObject && wasObject {
			value = withRemovals(haveInner, inner)
		}
		merged[key] = value
	}
	return merged
}
