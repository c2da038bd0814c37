package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
)

// A connector opens what a cluster runs to the operator, with the operator's certificate.
type connector interface {
	// Patroni returns the REST API behind the base URL.
	Patroni(url string, config *tls.Config) patroniAPI
	// Database connects to PostgreSQL at the host. The caller closes it.
	Database(ctx context.Context, host, name string, config *tls.Config) (database, error)
}

// patroniAPI is the REST API of one instance.
type patroniAPI interface {
	Members(context.Context) (map[string]memberState, error) // by pod
	Config(context.Context) (map[string]any, error)
	PatchConfig(context.Context, map[string]any) (changed bool, err error)
	Switchover(ctx context.Context, leader, candidate string) error
	Restart(context.Context) error
}

// memberState is what Patroni says of a member.
type memberState struct {
	Leader         bool
	Streaming      bool
	PendingRestart bool
}

// database is one connection.
type database interface {
	// Query returns rows as text; NULL is "".
	Query(ctx context.Context, sql string, args ...string) ([][]string, error)
	Close(context.Context)
}

// haView is what Patroni says in this round.
type haView struct {
	members map[string]memberState // nil: unknown
	wait    *Wait                  // why it is unknown
	api     func(pod string) patroniAPI
	answers patroniAPI // the one that answered
}

// patroni asks Patroni once in a round, at the first pod that answers.
func (r *round) patroni(ctx context.Context) *haView {
	if r.ha == nil {
		r.ha = r.askPatroni(ctx)
	}
	return r.ha
}

func (r *round) askPatroni(ctx context.Context) *haView {
	view := &haView{}
	config, err := r.operatorTLS()
	if err != nil {
		view.wait = &Wait{Party: desired.OperatorMaterial(r.cluster.Name), Reason: AwaitingMaterial, Message: err.Error()}
		return view
	}
	view.api = func(pod string) patroniAPI { return r.connect.Patroni(desired.PatroniURL(r.cluster, pod), config) }
	var problems []error
	for _, pod := range r.askable() {
		api := view.api(pod)
		states, err := api.Members(ctx)
		if err == nil {
			view.members, view.answers = states, api
			return view
		}
		problems = append(problems, err)
	}
	message := "no instance runs yet"
	if len(problems) > 0 {
		// The last is enough to go by, and keeps the message short.
		message = unanswered(problems[len(problems)-1])
	}
	view.wait = &Wait{Party: r.cluster.Name, Reason: AwaitingPatroni, Message: message}
	if len(problems) > 0 {
		view.wait.Again = soon
	}
	return view
}

// askable are the running pods, ready ones first.
func (r *round) askable() []string {
	var ready, running []string
	for _, m := range members(desired.Instances(r.cluster), r.facts, nil) {
		pod := r.facts.pods[m.Instance]
		switch {
		case pod == nil || m.Terminating:
		case m.Ready:
			ready = append(ready, pod.Name)
		case databaseStarted(pod):
			running = append(running, pod.Name)
		}
	}
	return append(ready, running...)
}

func databaseStarted(pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == desired.DatabaseContainer {
			return status.Started != nil && *status.Started
		}
	}
	return false
}

// operatorTLS presents the operator's client leaf and trusts the cluster's server authority. The server's
// name is what the caller dials.
func (r *round) operatorTLS() (*tls.Config, error) {
	name := desired.OperatorMaterial(r.cluster.Name)
	secret := r.facts.secrets[name]
	if secret == nil {
		return nil, fmt.Errorf("Secret %s is not there yet", name) //nolint:staticcheck // a kind's name
	}
	pair, err := tls.X509KeyPair(secret.Data[agentapi.ClientCertificate], secret.Data[agentapi.ClientKey])
	if err != nil {
		return nil, fmt.Errorf("reading the pair in Secret %s: %w", name, err)
	}
	anchors := x509.NewCertPool()
	if !anchors.AppendCertsFromPEM(secret.Data[agentapi.ServerBundle]) {
		return nil, fmt.Errorf("reading the bundle of server authorities: Secret %s has none", name)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: anchors, Certificates: []tls.Certificate{pair}}, nil
}
