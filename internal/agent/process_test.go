package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/probe"
)

func TestNotRunningIsToldFromNotObeying(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("reloading: %w", fs.ErrNotExist), true},
		{fmt.Errorf("reloading: %w", syscall.ECONNREFUSED), true},
		{&pgconn.PgError{Code: "57P03"}, true}, // starting up
		{&pgconn.PgError{Code: "57P01"}, true}, // shutting down
		{&pgconn.PgError{Code: "28000"}, false},
		{&pgconn.PgError{Code: "53300"}, false},
		{context.DeadlineExceeded, false},
		{syscall.EACCES, false},
		{errors.New("other"), false},
	}
	for _, test := range tests {
		if got := notRunning(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

func TestHandshakeProblems(t *testing.T) {
	for reason, want := range map[probe.Reason]agentapi.Reason{
		probe.Refused:         agentapi.ProcessNotReady,
		probe.Plaintext:       agentapi.StillServingOld,
		probe.HandshakeFailed: agentapi.StillServingOld,
		probe.TimedOut:        agentapi.StillServingOld,
	} {
		problem := handshakeProblem(&probe.Error{Reason: reason, Address: "127.0.0.1:5432", Err: errors.New("x")})
		if problem.Reason != want || !strings.Contains(problem.Message, string(reason)) {
			t.Errorf("%s becomes %+v", reason, problem)
		}
	}
}

func TestServesComparesLeafAndAcceptedIssuers(t *testing.T) {
	k := newKit(t, noon)
	m, other := k.material(usual()).parsed(t), k.material(usual()).parsed(t)
	both := k.material(usual())
	g2 := authority(t, "hippo client ca g2", noon)
	both = both.with(agentapi.ClientBundle, append(g2.EncodeCertificate(), k.client.EncodeCertificate()...))
	served := func(m *Material, issuers ...string) probe.Served {
		return probe.Served{Chain: m.Server.Chain, AcceptedIssuers: issuers}
	}
	g1Name, g2Name := "CN=hippo client ca g1", "CN=hippo client ca g2"
	tests := []struct {
		name   string
		served probe.Served
		want   *Material
		serves bool
	}{
		{"nothing", probe.Served{}, m, false},
		{"the leaf, without issuers as PgBouncer", served(m), m, true},
		{"the leaf and its issuer", served(m, g1Name), m, true},
		{"another leaf", served(other, g1Name), m, false},
		{"the leaf with the bundle of before", served(both.parsed(t), g1Name), both.parsed(t), false},
		{"the leaf with both issuers", served(both.parsed(t), g1Name, g2Name), both.parsed(t), true},
		{"the leaf with an issuer too many", served(m, g1Name, g2Name), m, false},
	}
	for _, test := range tests {
		if got := serves(test.served, test.want); got != test.serves {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if message := stillOld(probe.Served{}, m).Message; !strings.Contains(message, "serves leaf") {
		t.Errorf("message %q", message)
	}
	stale := probe.Served{Chain: m.Server.Chain, AcceptedIssuers: []string{g2Name}}
	stale.Leaf.Serial = leafOf(m.Server.Leaf()).Serial
	if message := stillOld(stale, m).Message; !strings.Contains(message, g2Name) || !strings.Contains(message, g1Name) {
		t.Errorf("message %q", message)
	}
}

// A reload takes effect after it is answered; the look waits for it, and not much longer than it takes.
func TestConfirmWaitsForTheReload(t *testing.T) {
	for _, slow := range []time.Duration{0, 10 * time.Millisecond, 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			k := newKit(t, time.Now())
			s := &store{dir: t.TempDir()}
			m := k.material(usual()).parsed(t)
			mustInstall(t, s, m)
			process := &fakeProcess{store: s, slow: slow, serving: k.material(usual()).parsed(t)}
			start := time.Now()
			if outcome := confirm(t.Context(), process, m); outcome.problem != nil || outcome.served.Serial != leafOf(m.Server.Leaf()).Serial {
				t.Errorf("after %v: %+v", slow, outcome)
			}
			if elapsed := time.Since(start); elapsed > 2*slow+longestLook {
				t.Errorf("a reload of %v is seen after %v", slow, elapsed)
			}
		})
	}
}

func TestConfirmGivesUpAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, time.Now())
		old, m := k.material(usual()).parsed(t), k.material(usual()).parsed(t)
		process := &fakeProcess{store: &store{dir: t.TempDir()}, stubborn: true, serving: old}
		start := time.Now()
		outcome := confirm(t.Context(), process, m)
		if reasonOf(outcome.problem) != agentapi.StillServingOld || outcome.served.Serial != leafOf(old.Server.Leaf()).Serial {
			t.Errorf("outcome is %+v", outcome)
		}
		if elapsed := time.Since(start); elapsed > servedTimeout+longestLook {
			t.Errorf("gave up after %v", elapsed)
		}
		process.change(func() { process.serving = nil })
		if outcome := confirm(t.Context(), process, m); reasonOf(outcome.problem) != agentapi.ProcessNotReady || outcome.served.Error == "" {
			t.Errorf("outcome is %+v", outcome)
		}
	})
}

func TestAProcessOfEachKind(t *testing.T) {
	for _, kind := range party.Kinds() {
		if kind.Process == nil {
			continue
		}
		process := NewProcess(kind.Process.Program, t.TempDir(), 1, 0)
		if process == nil {
			t.Fatalf("the agent has no process for program %s of %s", kind.Process.Program, kind)
		}
		if !slices.ContainsFunc(kind.Process.Ports, func(p party.Port) bool { return p.Name == process.Port() }) {
			t.Errorf("%s reports about port %s, which is not proven", kind, process.Port())
		}
		for act, err := range map[string]error{"reload": process.Reload(t.Context()), "ready": process.Ready(t.Context())} {
			if err == nil || !notRunning(err) {
				t.Errorf("%s without a process: %s: %v", kind, act, err)
			}
		}
		if _, err := process.Handshake(t.Context()); probe.ReasonOf(err) != probe.Refused {
			t.Errorf("%s without a process: handshake: %v", kind, err)
		}
	}
}
