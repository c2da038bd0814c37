package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

// Limits of the HTTPS servers.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 30 * time.Second
	maxHeaderBytes = 16 << 10
	shutdownGrace  = time.Second
	readyTimeout   = 2 * time.Second
	longestWait    = 60 * time.Second
)

// port is a listener with what answers on it.
type port struct {
	net.Listener
	handler http.Handler
}

// A server answers on the agent's ports: what it tells and presents is what the agent has installed and reported.
type server struct {
	config    Config
	loopback  tls.Certificate
	installed *atomic.Pointer[Material]
	reports   *reports
}

// listen opens the agent's ports. Waiting requests end with ctx.
func (s *server) listen(ctx context.Context) (ports []port, err error) {
	handlers := map[string]http.Handler{s.config.Listen: s.ownHandler(ctx)}
	if s.config.PatroniListen != "" {
		handlers[s.config.PatroniListen] = s.patroniHandler()
	}
	for address, handler := range handlers {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			for _, opened := range ports {
				_ = opened.Close() // the first error counts
			}
			return nil, fmt.Errorf("listening on %s: %w", address, err)
		}
		ports = append(ports, port{listener, handler})
	}
	return ports, nil
}

// serve answers on ports until ctx ends; then the channel gives the outcome. A port that dies before is given to died: an agent
// without it would have the kubelet restart the database instead, whose probes go through the agent.
func (s *server) serve(ctx context.Context, ports []port, died func(error)) <-chan error {
	servers := make([]*http.Server, len(ports))
	for i, p := range ports {
		servers[i] = s.newServer(p.handler)
		go func() {
			if err := servers[i].ServeTLS(p.Listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
				died(fmt.Errorf("serving HTTPS on %s: %w", p.Addr(), err))
			}
		}()
	}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- shutDown(context.WithoutCancel(ctx), servers) })
	return stopped
}

func (s *server) newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		TLSConfig:         s.serverTLS(),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2: no client of the agent needs it
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
}

func shutDown(ctx context.Context, servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownGrace)
	defer cancel()
	for _, server := range servers {
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close() // out of patience
		}
	}
	return nil
}

// serverTLS presents the installed material, and the loopback pair while there is none so that a probe gets a
// readable answer. Client certificates are asked for and judged per request, not here: health needs none. Sessions are
// never resumed, since a resumed one would show no certificate.
func (s *server) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             s.config.MinTLS,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if m := s.installed.Load(); m != nil {
				return &m.serverTLS, nil
			}
			return &s.loopback, nil
		},
	}
}

// ownHandler serves report, health and readiness. Waiting requests end with ctx.
func (s *server) ownHandler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	report := func(w http.ResponseWriter, r *http.Request) { s.serveReport(ctx, w, r) }
	mux.Handle("GET "+agentapi.PathReport, s.onlyFor(http.HandlerFunc(report), agentapi.OperatorIdentity))
	mux.HandleFunc("GET "+agentapi.PathHealth, s.serveHealth)
	mux.HandleFunc("GET "+agentapi.PathReady, s.serveReady)
	return mux
}

func (s *server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if s.installed.Load() == nil {
		http.Error(w, errNothingInstalled.Error(), http.StatusServiceUnavailable)
	}
}

// serveReady tells whether the process answers, where readiness is asked of the agent. That of PostgreSQL is Patroni's to tell.
func (s *server) serveReady(w http.ResponseWriter, r *http.Request) {
	if s.installed.Load() == nil {
		http.Error(w, errNothingInstalled.Error(), http.StatusServiceUnavailable)
		return
	}
	if !s.config.Kind.Process.ReadyHere {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.config.Process.Ready(ctx); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (s *server) serveReport(stop context.Context, w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, _ := strconv.ParseUint(query.Get("after"), 10, 64) // anything else: nothing seen yet
	wait, _ := strconv.Atoi(query.Get("wait"))
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(stop, cancel)()

	report, news := s.reports.after(ctx, query.Get("boot"), after, min(max(time.Duration(wait)*time.Second, 0), longestWait))
	if !news {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, http.StatusOK, report)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}

// onlyFor lets a request through when its client certificate verifies against the active client bundle now and
// names one of the identities.
func (s *server) onlyFor(next http.Handler, identities ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusal := s.identify(r.TLS, identities); refusal != nil {
			writeJSON(w, http.StatusForbidden, refusal)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// identify returns nil or why the client may not do what it asks for.
func (s *server) identify(state *tls.ConnectionState, identities []string) *agentapi.Refusal {
	if state == nil || len(state.PeerCertificates) == 0 {
		return &agentapi.Refusal{Reason: agentapi.ClientCertificateRequired, Message: fmt.Sprintf("present a client certificate of one of %q", identities)}
	}
	if err := s.verifyClient(state.PeerCertificates); err != nil {
		return &agentapi.Refusal{Reason: agentapi.ClientUntrusted, Message: err.Error()}
	}
	if name := state.PeerCertificates[0].Subject.CommonName; !slices.Contains(identities, name) {
		return &agentapi.Refusal{Reason: agentapi.IdentityRefused, Message: fmt.Sprintf("this is for %q and not for %q", identities, name)}
	}
	return nil
}

func (s *server) verifyClient(chain []*x509.Certificate) error {
	m := s.installed.Load()
	if m == nil {
		return errNothingInstalled
	}
	return pki.Verify(pki.VerifyRequest{Chain: chain, Anchors: m.ClientAnchors, At: s.config.Now(), Usage: pki.ClientAuth})
}
