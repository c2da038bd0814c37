package agenttest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
)

// Agent answers as agentapi says that an agent does.
type Agent struct {
	now func() time.Time

	mu       sync.Mutex
	report   agentapi.Report
	changed  chan struct{}
	pair     *pki.KeyPair // that it presents
	data     map[string][]byte
	asked    []string // queries
	identity []string // serials of the client leaves that it saw
	status   int      // to answer instead of a report, 0: none
	stop     func()
}

// NewAgent makes an agent that has material, and has not served yet.
func NewAgent(pod string, now func() time.Time, data map[string][]byte) *Agent {
	a := &Agent{now: now, changed: make(chan struct{})}
	a.report = agentapi.Report{Pod: pod, Kind: party.Instance.Name, Boot: "boot-1", Sequence: 1}
	a.Use(data)
	return a
}

// Use makes material what the agent presents and trusts.
func (a *Agent) Use(data map[string][]byte) {
	pair, err := pki.ParseKeyPair(data[agentapi.ServerCertificate], data[agentapi.ServerKey])
	if err != nil {
		panic(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pair, a.data = pair, data
}

// Say changes the report, and wakes the callers that wait for it.
func (a *Agent) Say(how func(*agentapi.Report)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	how(&a.report)
	a.report.Sequence++
	close(a.changed)
	a.changed = make(chan struct{})
}

// Queries are those that it was asked.
func (a *Agent) Queries() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...)
}

// Identities are the serials of the certificates of callers.
func (a *Agent) Identities() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.identity...)
}

// Serve listens on the wire until the test ends.
func (a *Agent) Serve(t *testing.T, w *Wire, address string) {
	t.Helper()
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, Time: a.now, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			certificate := a.pair.TLS()
			return &certificate, nil
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	server := &http.Server{Handler: a, ErrorLog: log.New(io.Discard, "", 0), BaseContext: func(net.Listener) context.Context { return ctx }}
	listener := w.Listen(address)
	go func() { _ = server.Serve(tls.NewListener(listener, config)) }() // ends with close
	a.stop = func() {
		stop()
		listener.hangUp()
		_ = server.Close()
	}
	t.Cleanup(a.Close)
}

// ServeHTTP answers the operator.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r.URL.RawQuery)
	status, refusal := a.status, a.refuse(r)
	a.mu.Unlock()
	switch {
	case r.Method != http.MethodGet || r.URL.Path != agentapi.PathReport:
		http.NotFound(w, r)
	case refusal != nil:
		http.Error(w, refusal.Error(), http.StatusForbidden)
	case status != 0:
		w.WriteHeader(status)
	default:
		a.answer(w, r)
	}
}

// refuse lets only the operator through.
func (a *Agent) refuse(r *http.Request) error {
	if len(r.TLS.PeerCertificates) == 0 {
		return errors.New("no client certificate")
	}
	leaf := pki.Facts(r.TLS.PeerCertificates[0])
	a.identity = append(a.identity, leaf.Serial)
	anchors, err := pki.ParseBundle(a.data[agentapi.ClientBundle])
	if err != nil {
		return err
	}
	if leaf.Subject != "CN="+agentapi.OperatorIdentity {
		return fmt.Errorf("%s may not ask", leaf.Subject)
	}
	return pki.Verify(pki.VerifyRequest{Chain: r.TLS.PeerCertificates, Anchors: anchors, At: a.now(), Usage: pki.ClientAuth})
}

func (a *Agent) answer(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, _ := strconv.ParseUint(query.Get("after"), 10, 64)
	seconds, _ := strconv.Atoi(query.Get("wait"))
	end := time.After(time.Duration(seconds) * time.Second)
	for {
		a.mu.Lock()
		report, changed := a.report, a.changed
		a.mu.Unlock()
		if report.Boot != query.Get("boot") || report.Sequence > after {
			_ = json.NewEncoder(w).Encode(report) // the client may be gone
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-end:
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
}

// Close ends the agent, and every connection with it.
func (a *Agent) Close() { a.stop() }

// AnswerWith has the agent answer with a status instead of a report; 0: with a report.
func (a *Agent) AnswerWith(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
}

// Report is what it would answer now.
func (a *Agent) Report() agentapi.Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.report
}

// Pair is what it presents.
func (a *Agent) Pair() *pki.KeyPair {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pair
}

// Data is the material that it uses.
func (a *Agent) Data() map[string][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.data
}
