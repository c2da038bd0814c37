package ha

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/patroni"
)

// API is the REST API of one instance.
type API interface {
	Members(context.Context) (map[string]decide.State, error) // by pod
	Config(context.Context) (map[string]any, error)
	PatchConfig(context.Context, map[string]any) (changed bool, err error)
	Switchover(ctx context.Context, leader, candidate string) error
	Restart(context.Context) error
}

// How long an answer may take. Switchover and restart answer when they are done.
const (
	readTimeout = 3 * time.Second
	actTimeout  = 90 * time.Second
)

// nearby is how many bytes a replica may be behind and still count as streaming where Patroni does not say "streaming" (before 3.1).
const nearby = 16 << 20

// Dial returns the REST API behind the base URL, asked with the operator's certificate.
func Dial(url string, config *tls.Config) API {
	return restAPI{patroni.NewClient(strings.TrimPrefix(url, "https://"), config)}
}

type restAPI struct{ client *patroni.Client }

func (a restAPI) Members(ctx context.Context) (map[string]decide.State, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	defer a.client.Close()
	cluster, err := a.client.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	leader, _ := cluster.Leader()
	states := map[string]decide.State{}
	for _, m := range cluster.Members {
		states[m.Name] = decide.State{
			Leader:         m.Role.Leads(),
			Streaming:      streams(m, leader),
			PendingRestart: m.PendingRestart,
		}
	}
	return states, nil
}

func streams(m, leader patroni.Member) bool {
	if m.State == "streaming" {
		return true
	}
	return m.State == "running" && m.Timeline == leader.Timeline && m.Lag.Known && m.Lag.Bytes <= nearby
}

func (a restAPI) Config(ctx context.Context) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	defer a.client.Close()
	return a.client.Config(ctx)
}

func (a restAPI) PatchConfig(ctx context.Context, desired map[string]any) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	defer a.client.Close()
	return a.client.PatchConfig(ctx, desired)
}

func (a restAPI) Switchover(ctx context.Context, leader, candidate string) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	defer a.client.Close()
	return a.client.Switchover(ctx, leader, candidate)
}

func (a restAPI) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	defer a.client.Close()
	return a.client.Restart(ctx)
}
