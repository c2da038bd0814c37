// Package patroni is a client of the Patroni REST API of one member, which the agent beside it serves with TLS.
//
// Reading needs no client certificate; Switchover, Restart, Reload and PatchConfig need a client certificate of the operator or a member.
package patroni

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Client talks to one member. It is safe for concurrent use.
type Client struct {
	url  string
	http *http.Client
}

const (
	dialTimeout   = 5 * time.Second
	idleTimeout   = 10 * time.Second
	maxReplyBytes = 4 << 20
	maxErrorText  = 300
)

// NewClient returns a client of the member at address (host:port). config holds the client certificate and how to
// verify the server. Call Close when done.
func NewClient(address string, config *tls.Config) *Client {
	return &Client{url: "https://" + address, http: &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: idleTimeout, MaxIdleConns: 1},
	}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an answer that is no success.
type StatusError struct {
	Status int    // of HTTP
	Body   string // at most 300 bytes
}

// Error returns status and body.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%d %s: %s", e.Status, http.StatusText(e.Status), e.Body)
}

// Member is one member of a cluster.
type Member struct {
	Name           string `json:"name"` // of the pod
	Role           Role   `json:"role"`
	State          string `json:"state"` // running, streaming, starting, stopped, ...
	Host           string `json:"host"`
	Port           int    `json:"port"`
	Timeline       int64  `json:"timeline"`
	Lag            Lag    `json:"lag"` // of a replica
	PendingRestart bool   `json:"pending_restart"`
}

// Healthy reports whether the member serves queries; a replica counts before it streams.
func (m Member) Healthy() bool { return m.State == "running" || m.State == "streaming" }

// Role of a member as Patroni calls it.
type Role string

// The roles.
const (
	Leader        Role = "leader"
	StandbyLeader Role = "standby_leader"
	Replica       Role = "replica"
	SyncStandby   Role = "sync_standby"
	QuorumStandby Role = "quorum_standby"
)

// Leads reports whether the role is that of the one member that all others follow.
func (r Role) Leads() bool { return r == Leader || r == StandbyLeader }

// Lag is how far a replica is behind.
type Lag struct {
	Bytes int64
	Known bool // Patroni says "unknown", or nothing, otherwise
}

// UnmarshalJSON takes a number or a word.
func (l *Lag) UnmarshalJSON(text []byte) error {
	*l = Lag{}
	if err := json.Unmarshal(text, &l.Bytes); err == nil {
		l.Known = true
	}
	return nil
}

// Cluster is what a member knows of all.
type Cluster struct {
	Scope   string   `json:"scope"`
	Members []Member `json:"members"`
	Pause   bool     `json:"pause"`
}

// Leader returns the member that leads, or false.
func (c Cluster) Leader() (Member, bool) {
	for _, member := range c.Members {
		if member.Role.Leads() {
			return member, true
		}
	}
	return Member{}, false
}

// Member returns the member of a name, or false.
func (c Cluster) Member(name string) (Member, bool) {
	for _, member := range c.Members {
		if member.Name == name {
			return member, true
		}
	}
	return Member{}, false
}

// Cluster asks for the members, their roles and states.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	var cluster Cluster
	if err := c.call(ctx, http.MethodGet, "/cluster", nil, &cluster); err != nil {
		return Cluster{}, fmt.Errorf("asking Patroni for the cluster: %w", err)
	}
	return cluster, nil
}

// Switchover makes to the leader instead of from, and returns when that is done, which takes seconds. With to "" Patroni chooses.
//
// Errors: *StatusError with 412 when from is not the leader or to is no good candidate, 503 when it failed.
func (c *Client) Switchover(ctx context.Context, from, to string) error {
	request := map[string]string{"leader": from}
	if to != "" {
		request["candidate"] = to
	}
	if err := c.call(ctx, http.MethodPost, "/switchover", request, nil); err != nil {
		return fmt.Errorf("switching over from %s to %q: %w", from, to, err)
	}
	return nil
}

// Restart restarts PostgreSQL of this member, and returns when it is up again.
func (c *Client) Restart(ctx context.Context) error {
	if err := c.call(ctx, http.MethodPost, "/restart", map[string]string{}, nil); err != nil {
		return fmt.Errorf("restarting PostgreSQL: %w", err)
	}
	return nil
}

// Reload makes this member's Patroni read its file anew. It is answered before it is done.
func (c *Client) Reload(ctx context.Context) error {
	if err := c.call(ctx, http.MethodPost, "/reload", nil, nil); err != nil {
		return fmt.Errorf("reloading Patroni: %w", err)
	}
	return nil
}

// Config returns the dynamic configuration of the cluster.
func (c *Client) Config(ctx context.Context) (map[string]any, error) {
	config := map[string]any{}
	if err := c.call(ctx, http.MethodGet, "/config", nil, &config); err != nil {
		return nil, fmt.Errorf("reading Patroni's configuration: %w", err)
	}
	return config, nil
}

// PatchConfig makes the dynamic configuration hold everything that desired holds, see Difference. When it does
// already, nothing is written.
func (c *Client) PatchConfig(ctx context.Context, desired map[string]any) (changed bool, err error) {
	current, err := c.Config(ctx)
	if err != nil {
		return false, err
	}
	patch := Difference(current, desired)
	if len(patch) == 0 {
		return false, nil
	}
	if err := c.call(ctx, http.MethodPatch, "/config", patch, nil); err != nil {
		return false, fmt.Errorf("changing Patroni's configuration: %w", err)
	}
	return true, nil
}

// call sends in as JSON, when there is any, and reads the answer into out, when it is wanted.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	request, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReplyBytes))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("reading the answer to %s %s: %w", method, path, err)
	}
	if response.StatusCode/100 != 2 {
		text := strings.TrimSpace(string(body))
		return &StatusError{Status: response.StatusCode, Body: text[:min(len(text), maxErrorText)]}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("reading the answer to %s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return request, nil
}
