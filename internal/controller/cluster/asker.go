package cluster

import (
	"context"
	"crypto/tls"

	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/ha"
	"pgtls.dev/pgtls/internal/controller/cluster/sql"
	"pgtls.dev/pgtls/internal/desired"
)

// A connector opens what a cluster runs to the operator, with the operator's certificate.
type connector interface {
	// Patroni returns the REST API behind the base URL.
	Patroni(url string, config *tls.Config) ha.API
	// Database connects to PostgreSQL at the host. The caller closes it.
	Database(ctx context.Context, host, name string, config *tls.Config) (sql.Database, error)
}

// wire is the connector to what really runs.
type wire struct{}

func (wire) Patroni(url string, config *tls.Config) ha.API { return ha.Dial(url, config) }

func (wire) Database(ctx context.Context, host, name string, config *tls.Config) (sql.Database, error) {
	return sql.Connect(ctx, host, name, config)
}

// patroniView is what Patroni says in this round.
type patroniView struct {
	states  map[string]decide.State // by pod; nil: unknown
	wait    *decide.Wait            // why it is unknown
	api     func(pod string) ha.API
	answers ha.API // the one that answered
}

func (v *patroniView) hasLeader() bool {
	for _, state := range v.states {
		if state.Leader {
			return true
		}
	}
	return false
}

// An asker asks Patroni once in a round, at the first pod that answers.
type asker struct {
	seen    observed
	connect connector
	view    *patroniView // nil: not asked yet
}

func (a *asker) ask(ctx context.Context) *patroniView {
	if a.view == nil {
		a.view = a.read(ctx)
	}
	return a.view
}

func (a *asker) read(ctx context.Context) *patroniView {
	view := &patroniView{}
	cluster := a.seen.cluster
	config, err := a.seen.operatorTLS()
	if err != nil {
		view.wait = &decide.Wait{Party: desired.OperatorMaterial(cluster.Name), Reason: decide.AwaitingMaterial, Message: err.Error()}
		return view
	}
	view.api = func(pod string) ha.API { return a.connect.Patroni(desired.PatroniURL(cluster, pod), config) }
	var problems []error
	for _, pod := range a.seen.askable() {
		api := view.api(pod)
		states, err := api.Members(ctx)
		if err == nil {
			view.states, view.answers = states, api
			return view
		}
		problems = append(problems, err)
	}
	view.wait = unansweredBy(cluster.Name, problems)
	return view
}

func unansweredBy(cluster string, problems []error) *decide.Wait {
	if len(problems) == 0 {
		return &decide.Wait{Party: cluster, Reason: decide.AwaitingPatroni, Message: "no instance runs yet"}
	}
	// The last is enough to go by, and keeps the message short.
	message := attempt.Unanswered(problems[len(problems)-1])
	return &decide.Wait{Party: cluster, Reason: decide.AwaitingPatroni, Message: message, Again: decide.Soon}
}
