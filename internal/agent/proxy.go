package agent

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
)

// maxPatroniBody is far above what Patroni's REST API takes.
const maxPatroniBody = 1 << 20

// patroniHandler terminates TLS for the Patroni REST API: reading needs no client certificate, any other request one of the operator or
// the members. Patroni's own TLS would close its socket to take a new certificate, and ignores a new bundle.
func (s *server) patroniHandler() http.Handler {
	upstream := &url.URL{Scheme: "https", Host: s.config.PatroniUpstream}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport: s.loopbackTransport(),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			writeJSON(w, http.StatusBadGateway, agentapi.Refusal{Reason: agentapi.PatroniUnreachable, Message: err.Error()})
		},
	}
	guarded := s.onlyFor(proxy, agentapi.OperatorIdentity, agentapi.ReplicationIdentity)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxPatroniBody)
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			proxy.ServeHTTP(w, r)
		default:
			guarded.ServeHTTP(w, r)
		}
	})
}

// errNotOurPatroni is a listener on Patroni's port that has not the pair which only this pod knows.
var errNotOurPatroni = errors.New("what listens on the loopback port does not present the loopback certificate")

func (s *server) loopbackTransport() http.RoundTripper {
	return &http.Transport{
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     30 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12, // bounded by Patroni's Python
			InsecureSkipVerify: true,             // the very certificate is compared instead
			VerifyConnection: func(state tls.ConnectionState) error {
				if !bytes.Equal(state.PeerCertificates[0].Raw, s.loopback.Certificate[0]) {
					return errNotOurPatroni
				}
				return nil
			},
		},
	}
}
