package agent

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pgbouncer"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/probe"
)

// Process is what runs beside the agent.
type Process interface {
	// Port is the name of its port in the report.
	Port() string
	// Reload makes it read its files anew. An error for which notRunning is true means that it is not up.
	Reload(ctx context.Context) error
	// Ready returns nil when it answers.
	Ready(ctx context.Context) error
	// Recycle makes it replace the connections that it has opened itself, each when no client uses it. It takes seconds.
	Recycle(ctx context.Context) error
	// Handshake looks at what it serves, without judging it.
	Handshake(ctx context.Context) (probe.Served, error)
}

type postgresProcess struct {
	local  postgres.Local
	target probe.Target
}

type pgbouncerProcess struct {
	console pgbouncer.Console
	target  probe.Target
}

// NewProcess returns the process of a program, which listens on port of this host and in socketDir; minTLS 0 means 1.3. There is no
// process of an unknown program: nil.
func NewProcess(program party.Program, socketDir string, port uint16, minTLS uint16) Process {
	target := probe.Target{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))), MinVersion: minTLS}
	switch program {
	case party.PgBouncer:
		target.Protocol = probe.PGBouncer
		return pgbouncerProcess{console: pgbouncer.Console{SocketDir: socketDir, Port: port}, target: target}
	case party.PostgreSQL:
		target.Protocol = probe.Postgres
		return postgresProcess{local: postgres.Local{SocketDir: socketDir, Port: port}, target: target}
	}
	return nil
}

func (p postgresProcess) Port() string                     { return string(probe.Postgres) }
func (p postgresProcess) Reload(ctx context.Context) error { return p.local.Reload(ctx) }
func (p postgresProcess) Ready(ctx context.Context) error  { return p.local.Ready(ctx) }
func (p postgresProcess) Recycle(context.Context) error    { return nil } // replication reads its files at each connect, and stays
func (p postgresProcess) Handshake(ctx context.Context) (probe.Served, error) {
	return probe.Dial(ctx, p.target)
}

func (p pgbouncerProcess) Port() string                      { return string(probe.PGBouncer) }
func (p pgbouncerProcess) Reload(ctx context.Context) error  { return p.console.Reload(ctx) }
func (p pgbouncerProcess) Ready(ctx context.Context) error   { return p.console.Ready(ctx) }
func (p pgbouncerProcess) Recycle(ctx context.Context) error { return p.console.Recycle(ctx) }
func (p pgbouncerProcess) Handshake(ctx context.Context) (probe.Served, error) {
	return probe.Dial(ctx, p.target)
}

// cannotConnectNow is the class of 57P01 to 57P03: starting up, shutting down, recovering.
const cannotConnectNow = "57P"

// notRunning tells a process that is not up yet, or no more, from one that does not do as it is told.
func notRunning(err error) bool {
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(refusal.Code, cannotConnectNow)
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// Timing of one attempt to make the process serve what is installed.
const (
	reloadTimeout  = 3 * time.Second
	servedTimeout  = time.Second // PostgreSQL takes about 10 ms; a longer look would hold up an undo
	firstLook      = 2 * time.Millisecond
	longestLook    = 100 * time.Millisecond
	handshakeLimit = time.Second
)

// confirmation is the outcome of an attempt.
type confirmation struct {
	served  agentapi.Served
	problem *agentapi.Problem // nil: m is loaded and served
}

// confirm makes the process load m and looks until it serves it.
func confirm(ctx context.Context, process Process, m *Material) confirmation {
	if err := reload(ctx, process); err != nil {
		return confirmation{problem: reloadProblem(err), served: agentapi.Served{Port: process.Port(), Error: err.Error()}}
	}
	return awaitServed(ctx, process, m)
}

// changesIssuer reports whether the client leaf is another authority's. Then connections with PostgreSQL are made anew: those
// that are pooled would stay for an hour with what the old one issued, and it is to be dropped. A plain renewal leaves them alone.
func changesIssuer(before, m *Material) bool {
	return before != nil && !bytes.Equal(before.Client.Leaf().AuthorityKeyId, m.Client.Leaf().AuthorityKeyId)
}

// recycle has them made anew. Nothing waits for it: those that it misses end at their usual age.
func (a *Agent) recycle(ctx context.Context) {
	if err := a.config.Process.Recycle(ctx); err != nil && ctx.Err() == nil {
		a.config.Log.Warn("replacing connections", "error", err)
	}
}

func reload(ctx context.Context, process Process) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	return process.Reload(ctx)
}

func reloadProblem(err error) *agentapi.Problem {
	if notRunning(err) {
		return &agentapi.Problem{Reason: agentapi.ProcessNotReady, Message: err.Error() + ": it reads the installed files when it starts"}
	}
	return &agentapi.Problem{Reason: agentapi.ReloadFailed, Message: err.Error() + ": the agent tries again"}
}

// awaitServed looks, at first every few milliseconds, because a reload takes effect after it is answered.
func awaitServed(ctx context.Context, process Process, m *Material) confirmation {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	for pause := firstLook; ; pause = min(2*pause, longestLook) {
		outcome := look(ctx, process, m)
		if outcome.problem == nil {
			return outcome
		}
		select {
		case <-ctx.Done():
			return outcome
		case <-time.After(pause):
		}
	}
}

func look(ctx context.Context, process Process, m *Material) confirmation {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	served, err := process.Handshake(ctx)
	outcome := confirmation{served: agentapi.Served{Port: process.Port(), Serial: served.Leaf.Serial}}
	switch {
	case err != nil:
		outcome.served.Error = err.Error()
		outcome.problem = handshakeProblem(err)
	case !serves(served, m):
		outcome.problem = stillOld(served, m)
	}
	return outcome
}

func handshakeProblem(err error) *agentapi.Problem {
	reason := agentapi.StillServingOld
	if probe.ReasonOf(err) == probe.Refused {
		reason = agentapi.ProcessNotReady
	}
	return &agentapi.Problem{Reason: reason, Message: err.Error() + ": see the log of the process"}
}

// serves compares leaf and bridges and, where the server names the issuers that it accepts from clients
// (PostgreSQL does), those with the client bundle: a new bundle alone does not change the leaf.
func serves(served probe.Served, m *Material) bool {
	if !slices.EqualFunc(served.Chain, m.Served.Chain, (*x509.Certificate).Equal) {
		return false
	}
	return len(served.AcceptedIssuers) == 0 || slices.Equal(served.AcceptedIssuers, subjects(m))
}

func subjects(m *Material) []string {
	var names []string
	for _, anchor := range m.ClientAnchors {
		names = append(names, anchor.Subject.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func stillOld(served probe.Served, m *Material) *agentapi.Problem {
	want := leafOf(m.Served.Leaf()).Serial
	message := "the process serves leaf " + served.Leaf.Serial + " and not " + want + ": see its log for the file that it refuses"
	switch {
	case served.Leaf.Serial == want && len(served.Chain) != len(m.Served.Chain):
		message = fmt.Sprintf("the process serves leaf %s with %d bridges and not with %d: see its log for the file that it refuses", want, len(served.Chain)-1, len(m.Served.Chain)-1)
	case served.Leaf.Serial == want:
		message = "the process accepts clients of " + strings.Join(served.AcceptedIssuers, "; ") + " and not of " + strings.Join(subjects(m), "; ") + ": see its log for the file that it refuses"
	}
	return &agentapi.Problem{Reason: agentapi.StillServingOld, Message: message}
}
