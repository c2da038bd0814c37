package cluster

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/ha"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/patroni"
)

// configurePatroni makes Patroni's dynamic configuration what the spec says, once there is a primary to hold it.
func configurePatroni(ctx context.Context, r *round) ([]decide.Wait, error) {
	if len(r.seen.pods) == 0 {
		return nil, nil // a new cluster starts with it
	}
	view := r.ha.ask(ctx)
	if view.wait != nil {
		return []decide.Wait{*view.wait}, nil
	}
	cluster := r.seen.cluster
	if !view.hasLeader() {
		return []decide.Wait{{Party: cluster.Name, Reason: decide.AwaitingPrimary, Message: "there is no primary yet", Again: decide.Soon}}, nil
	}
	want, err := desired.DynamicConfiguration(cluster)
	if err != nil {
		return nil, err
	}
	have, err := view.answers.Config(ctx)
	if err != nil {
		return []decide.Wait{awaitPatroni(cluster, err)}, nil
	}
	change := ha.Change(have, want)
	if change == nil {
		return nil, nil
	}
	if err := r.objects.permit(ctx); err != nil {
		return nil, err
	}
	if _, err := view.answers.PatchConfig(ctx, change); err != nil {
		return []decide.Wait{awaitPatroni(cluster, err)}, nil
	}
	r.events.tell(nil, decide.ConfigurationChanged, "Configure", "changed Patroni's dynamic configuration")
	// Patroni says only at its next loop whether PostgreSQL needs a restart.
	return []decide.Wait{{Party: cluster.Name, Reason: decide.ConfigurationChanged, Message: "Patroni takes its changed configuration", Again: patroniLoop(cluster)}}, nil
}

// awaitPatroni says in one line that Patroni does not do what it was asked; its own pages of HTML explain nothing.
func awaitPatroni(cluster *v1beta1.PostgresCluster, err error) decide.Wait {
	message := attempt.Unanswered(err)
	if refused := (*patroni.StatusError)(nil); errors.As(err, &refused) {
		message = "Patroni answers " + strconv.Itoa(refused.Status) + " " + http.StatusText(refused.Status)
	}
	return decide.Wait{Party: cluster.Name, Reason: decide.AwaitingPatroni, Message: message, Again: decide.Soon}
}

// patroniLoop is how long until Patroni has looked at everything again.
func patroniLoop(cluster *v1beta1.PostgresCluster) time.Duration {
	seconds := int32(10)
	if cluster.Spec.Patroni != nil {
		seconds = ptr.Deref(cluster.Spec.Patroni.SyncPeriodSeconds, seconds)
	}
	return time.Duration(seconds+1) * time.Second
}
