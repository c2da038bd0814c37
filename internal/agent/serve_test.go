package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
)

// host is an agent whose servers run, without the turning goroutine.
type host struct {
	*kit
	agent   *Agent
	process *fakeProcess
	own     string // base URLs
	patroni string
}

func newHost(t *testing.T, kind *party.Kind, upstream string) *host {
	t.Helper()
	h := &host{kit: newKit(t, time.Now()), process: &fakeProcess{}}
	own, patroni := freeAddress(t), ""
	if upstream != "" {
		patroni = freeAddress(t)
	}
	agent, err := New(Config{
		Pod: "pod", Kind: kind, ActiveDir: t.TempDir(), Process: h.process, Now: time.Now, Log: discard(),
		Listen: own, PatroniListen: patroni, PatroniUpstream: upstream,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.agent, h.own, h.patroni = agent, "https://"+own, "https://"+patroni
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ports, err := agent.server.listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stopped := agent.server.serve(ctx, ports, func(err error) { t.Error(err) })
	t.Cleanup(func() {
		start := time.Now()
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if elapsed := time.Since(start); elapsed > shutdownGrace+2*time.Second {
			t.Errorf("ending took %v", elapsed)
		}
	})
	return h
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (h *host) install() material {
	m := h.material(usual())
	h.agent.installed.Store(m.parsed(h.t))
	return m
}

// answer is what a request came back with.
type answer struct {
	status int
	body   string
	leaf   string // serial of what the server presented
}

func (a answer) refusal(t *testing.T) agentapi.RefusalReason {
	t.Helper()
	var refusal agentapi.Refusal
	if err := json.Unmarshal([]byte(a.body), &refusal); err != nil {
		t.Fatalf("%q is no refusal: %v", a.body, err)
	}
	return refusal.Reason
}

// request makes one request over a new connection, so that each shows the certificate of its moment.
func request(t testing.TB, method, url string, config *tls.Config) answer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, string(body), pki.Facts(response.TLS.PeerCertificates[0]).Serial}
}

func anonymous() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func TestHealthFollowsTheInstalledMaterial(t *testing.T) {
	h := newHost(t, party.Instance, "")
	for _, path := range []string{agentapi.PathHealth, agentapi.PathReady} {
		if got := request(t, "GET", h.own+path, anonymous()); got.status != http.StatusServiceUnavailable {
			t.Errorf("%s is %d before anything is installed", path, got.status)
		}
	}
	first := h.install()
	for _, path := range []string{agentapi.PathHealth, agentapi.PathReady} {
		if got := request(t, "GET", h.own+path, anonymous()); got.status != http.StatusOK || got.leaf != leafOf(first.parsed(t).Server.Leaf()).Serial {
			t.Errorf("%s is %+v", path, got)
		}
	}
	second := h.install()
	if got := request(t, "GET", h.own+agentapi.PathHealth, anonymous()); got.leaf != leafOf(second.parsed(t).Server.Leaf()).Serial {
		t.Error("the next handshake still presents the first leaf")
	}
}

func TestReadinessOfAPoolerIsItsConsole(t *testing.T) {
	h := newHost(t, party.Pooler, "")
	h.install()
	if got := request(t, "GET", h.own+agentapi.PathReady, anonymous()); got.status != http.StatusOK {
		t.Errorf("ready is %d", got.status)
	}
	h.process.change(func() { h.process.down = true })
	if got := request(t, "GET", h.own+agentapi.PathReady, anonymous()); got.status != http.StatusServiceUnavailable {
		t.Errorf("ready is %d without a console", got.status)
	}
	if got := request(t, "GET", h.own+agentapi.PathHealth, anonymous()); got.status != http.StatusOK {
		t.Errorf("health is %d without a console: the pooler could not even start", got.status)
	}
}

func TestTheReportIsForTheOperatorAlone(t *testing.T) {
	h := newHost(t, party.Instance, "")
	operator := h.clientTLS(h.client, agentapi.OperatorIdentity)
	url := h.own + agentapi.PathReport
	if got := request(t, "GET", url, operator); got.status != http.StatusForbidden || got.refusal(t) != agentapi.ClientUntrusted {
		t.Errorf("before anything is installed: %+v", got)
	}
	h.install()
	stranger := newKit(t, h.start)
	tests := []struct {
		name   string
		config *tls.Config
		status int
		reason agentapi.RefusalReason
	}{
		{"no certificate", anonymous(), http.StatusForbidden, agentapi.ClientCertificateRequired},
		{"a stranger's operator", h.clientTLS(stranger.client, agentapi.OperatorIdentity), http.StatusForbidden, agentapi.ClientUntrusted},
		{"a client of the server authority", h.clientTLS(h.server, agentapi.OperatorIdentity), http.StatusForbidden, agentapi.ClientUntrusted},
		{"a member", h.clientTLS(h.client, agentapi.ReplicationIdentity), http.StatusForbidden, agentapi.IdentityRefused},
		{"an application", h.clientTLS(h.client, "app"), http.StatusForbidden, agentapi.IdentityRefused},
		{"the operator", operator, http.StatusOK, ""},
	}
	for _, test := range tests {
		got := request(t, "GET", url, test.config)
		if got.status != test.status {
			t.Errorf("%s: %+v", test.name, got)
		}
		if test.reason != "" && got.refusal(t) != test.reason {
			t.Errorf("%s: %s", test.name, got.body)
		}
	}
	if got := request(t, "POST", url, operator); got.status != http.StatusMethodNotAllowed {
		t.Errorf("POST is %d", got.status)
	}
}

// A bundle that no longer holds the authority ends what was open, too: each request is judged, not each connection.
func TestABundleChangeAppliesToOpenConnections(t *testing.T) {
	h := newHost(t, party.Instance, "")
	h.install()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: h.clientTLS(h.client, agentapi.OperatorIdentity)}}
	t.Cleanup(client.CloseIdleConnections)
	get := func() int {
		response, err := client.Get(h.own + agentapi.PathReport)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.StatusCode
	}
	if got := get(); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	h.agent.installed.Store(newKit(t, h.start).material(usual()).parsed(t))
	if got := get(); got != http.StatusForbidden {
		t.Errorf("status %d with another bundle", got)
	}
}

func TestLongPoll(t *testing.T) {
	h := newHost(t, party.Instance, "")
	h.install()
	operator := h.clientTLS(h.client, agentapi.OperatorIdentity)
	poll := func(boot string, after uint64, wait int) (answer, agentapi.Report) {
		got := request(t, "GET", fmt.Sprintf("%s%s?boot=%s&after=%d&wait=%d", h.own, agentapi.PathReport, boot, after, wait), operator)
		var report agentapi.Report
		if got.status == http.StatusOK {
			if err := json.Unmarshal([]byte(got.body), &report); err != nil {
				t.Error(err)
			}
		}
		return got, report
	}
	_, first := poll("", 0, 0)
	if first.Boot == "" || first.Sequence == 0 || first.Pod != "pod" || first.Kind != party.Instance.Name {
		t.Fatalf("report is %+v", first)
	}
	if got, _ := poll(first.Boot, first.Sequence, 0); got.status != http.StatusNotModified {
		t.Errorf("nothing new gives %d", got.status)
	}
	if got, _ := poll("another-boot", first.Sequence, 30); got.status != http.StatusOK {
		t.Errorf("another boot gives %d", got.status)
	}

	type result struct {
		answer
		agentapi.Report
	}
	waited := make(chan result)
	go func() {
		got, report := poll(first.Boot, first.Sequence, 30)
		waited <- result{got, report}
	}()
	if h.agent.reports.publish(agentapi.Report{}) {
		t.Error("an equal report counts as news")
	}
	h.agent.reports.publish(agentapi.Report{Asked: "a"})
	if got := <-waited; got.status != http.StatusOK || got.Asked != "a" || got.Sequence != first.Sequence+1 {
		t.Errorf("woken with %+v", got)
	}

	go func() { // ends with the server: newHost's cleanup measures how long that takes
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: operator}}
		_, _ = client.Get(fmt.Sprintf("%s%s?boot=%s&after=%d&wait=60", h.own, agentapi.PathReport, first.Boot, first.Sequence+1))
	}()
}

func TestTLSFloor(t *testing.T) {
	h := newHost(t, party.Instance, "")
	h.install()
	old := anonymous()
	old.MaxVersion = tls.VersionTLS12
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(h.own, "https://"), old); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 is accepted")
	}
}

// patroniOf is a Patroni that has the agent's loopback pair and tells what it is asked.
func patroniOf(t *testing.T) (address string, usePairOf func(*Agent)) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readiness" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(body))
	}))
	server.TLS = &tls.Config{}
	return server.Listener.Addr().String(), func(a *Agent) {
		server.TLS.Certificates = []tls.Certificate{a.server.loopback}
		server.StartTLS()
		t.Cleanup(server.Close)
	}
}

func TestPatroniIsReadByAllAndChangedByFew(t *testing.T) {
	address, usePairOf := patroniOf(t)
	h := newHost(t, party.Instance, address)
	usePairOf(h.agent)
	m := h.install()
	tests := []struct {
		method, path string
		config       *tls.Config
		status       int
		reason       agentapi.RefusalReason
	}{
		{"GET", "/cluster", anonymous(), http.StatusOK, ""},
		{"GET", "/readiness", anonymous(), http.StatusServiceUnavailable, ""},
		{"HEAD", "/primary", anonymous(), http.StatusOK, ""},
		{"OPTIONS", "/replica", anonymous(), http.StatusOK, ""},
		{"POST", "/switchover", anonymous(), http.StatusForbidden, agentapi.ClientCertificateRequired},
		{"PATCH", "/config", h.clientTLS(h.client, "app"), http.StatusForbidden, agentapi.IdentityRefused},
		{"PATCH", "/config", h.clientTLS(h.client, agentapi.PGBouncerIdentity), http.StatusForbidden, agentapi.IdentityRefused},
		{"DELETE", "/restart", h.clientTLS(newKit(t, h.start).client, agentapi.OperatorIdentity), http.StatusForbidden, agentapi.ClientUntrusted},
		{"POST", "/switchover", h.clientTLS(h.client, agentapi.OperatorIdentity), http.StatusOK, ""},
		{"PUT", "/config", h.clientTLS(h.client, agentapi.ReplicationIdentity), http.StatusOK, ""},
		{"BREW", "/", anonymous(), http.StatusForbidden, agentapi.ClientCertificateRequired},
	}
	for _, test := range tests {
		got := request(t, test.method, h.patroni+test.path, test.config)
		if got.status != test.status || got.leaf != leafOf(m.parsed(t).Server.Leaf()).Serial {
			t.Errorf("%s %s: %+v, want %d", test.method, test.path, got, test.status)
		}
		if test.reason != "" && got.refusal(t) != test.reason {
			t.Errorf("%s %s: %s", test.method, test.path, got.body)
		}
		if want := test.method + " " + test.path + " 0"; test.status == http.StatusOK && test.method != "HEAD" && got.body != want {
			t.Errorf("Patroni was asked %q, want %q", got.body, want)
		}
	}
}

func TestAnotherListenerOnPatronisPortIsNotBelieved(t *testing.T) {
	address, usePairOf := patroniOf(t)
	h := newHost(t, party.Instance, address)
	h.install()
	if got := request(t, "GET", h.patroni+"/cluster", anonymous()); got.status != http.StatusBadGateway || got.refusal(t) != agentapi.PatroniUnreachable {
		t.Errorf("without Patroni: %+v", got)
	}
	other, err := New(Config{Kind: party.Instance, ActiveDir: t.TempDir(), Now: time.Now, Log: discard()})
	if err != nil {
		t.Fatal(err)
	}
	usePairOf(other)
	if got := request(t, "GET", h.patroni+"/cluster", anonymous()); got.status != http.StatusBadGateway || !strings.Contains(got.body, errNotOurPatroni.Error()) {
		t.Errorf("with another pair: %+v", got)
	}
}

func TestAPortThatIsTakenIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	agent, err := New(Config{Kind: party.Instance, ActiveDir: t.TempDir(), Now: time.Now, Log: discard(), Listen: listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agent.server.listen(t.Context()); err == nil || !strings.Contains(err.Error(), "listening on") {
		t.Errorf("got %v", err)
	}
}

// TestAPortThatDiesEndsTheAgent: the probes of the database go through the agent, so that PostgreSQL would be restarted for it.
func TestAPortThatDiesEndsTheAgent(t *testing.T) {
	agent, err := New(Config{Kind: party.Instance, ActiveDir: t.TempDir(), Process: &fakeProcess{}, Now: time.Now, Log: discard(), Listen: freeAddress(t), PatroniListen: freeAddress(t)})
	if err != nil {
		t.Fatal(err)
	}
	ports, err := agent.server.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.work(t.Context(), nil, ports) }()
	address := ports[1].Addr().String()
	if err := ports[1].Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("the agent ended with %v, and %s is closed", err, address)
	}
}
