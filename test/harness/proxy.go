package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Fault is what goes wrong with one call.
type Fault string

// The faults. A write that was done and is said to have failed, or is not answered, is the one that tempts to do it twice.
const (
	NoFault    Fault = ""
	Conflicted Fault = "409"                // not handed on
	Refused    Fault = "500"                // not handed on
	Misread    Fault = "500 although done"  // handed on; whatever came of it, the answer says 500
	Lost       Fault = "lost"               // not handed on, and the connection breaks
	Unanswered Fault = "lost although done" // handed on, and the connection breaks before the answer
)

// Proxy stands between an operator and the API server. It knows the calls about one namespace, and lets a story spoil them or act
// at the instant between an answer of the API server and its arrival. Everything else passes.
type Proxy struct {
	URL string

	namespace string
	server    *http.Server
	reverse   *httputil.ReverseProxy

	mu       sync.Mutex
	spoil    func(Call) Fault
	answered func(Call)
}

// exchange is what the way back must know of the way there.
type exchange struct {
	call  Call
	fault Fault
}

type exchangeKey struct{}

var errUnanswered = errors.New("the answer gets lost")

// StartProxy listens on the loopback. The transport adds credentials: each process that reaches the proxy has them.
func StartProxy(upstream *url.URL, transport http.RoundTripper, namespace string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	p := &Proxy{URL: "http://" + listener.Addr().String(), namespace: namespace}
	silent := log.New(io.Discard, "", 0) // an operator that is killed breaks off its requests
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport:      transport,
		FlushInterval:  -1, // of watches, each event at once
		ModifyResponse: p.onAnswer,
		ErrorHandler:   onError,
		ErrorLog:       silent,
	}
	p.server = &http.Server{Handler: p, ErrorLog: silent, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(listener) }() // it ends with Close
	return p, nil
}

// Close breaks off whatever is under way.
func (p *Proxy) Close() { _ = p.server.Close() }

// Spoil has a function say what goes wrong with each call about the namespace; nil: nothing. It may be called from several goroutines.
func (p *Proxy) Spoil(spoil func(Call) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoil = spoil
}

// OnWrite has a function called for each write that the API server has done and that the operator does not know of yet: it learns
// of it when the function returns. nil: none.
func (p *Proxy) OnWrite(answered func(Call)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered = answered
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, ours := callOf(r, p.namespace)
	if !ours {
		p.reverse.ServeHTTP(w, r)
		return
	}
	p.mu.Lock()
	spoil := p.spoil
	p.mu.Unlock()
	fault := NoFault
	if spoil != nil {
		fault = spoil(call)
	}
	switch fault {
	case Conflicted:
		writeStatus(w, conflict(call))
		return
	case Refused:
		writeStatus(w, internalError())
		return
	case Lost:
		panic(http.ErrAbortHandler) // closes the connection
	case NoFault, Misread, Unanswered:
	}
	p.reverse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, exchange{call, fault})))
}

func (p *Proxy) onAnswer(response *http.Response) error {
	e, ours := response.Request.Context().Value(exchangeKey{}).(exchange)
	if !ours {
		return nil
	}
	p.mu.Lock()
	answered := p.answered
	p.mu.Unlock()
	if answered != nil && e.call.Writes() && response.StatusCode/100 == 2 {
		answered(e.call)
	}
	switch e.fault {
	case Unanswered:
		return errUnanswered
	case Misread:
		return replace(response, internalError())
	case NoFault, Conflicted, Refused, Lost:
	}
	return nil
}

func onError(w http.ResponseWriter, _ *http.Request, err error) {
	if errors.Is(err, errUnanswered) {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusBadGateway)
}

// conflict is what a call would be told whose object was changed or made in the meantime.
func conflict(call Call) metav1.Status {
	resource := schema.GroupResource{Resource: call.Resource}
	if call.Method == http.MethodPost {
		return apierrors.NewAlreadyExists(resource, call.Name).Status()
	}
	return apierrors.NewConflict(resource, call.Name, errors.New("a story says so")).Status()
}

func internalError() metav1.Status {
	return apierrors.NewInternalError(errors.New("a story says so")).Status()
}

func writeStatus(w http.ResponseWriter, status metav1.Status) {
	body, err := json.Marshal(status)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(body) // a client that does not wait for the answer does not get it
}

// replace puts a Status in place of an answer.
func replace(response *http.Response, status metav1.Status) error {
	body, err := json.Marshal(status)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.StatusCode, response.Status = int(status.Code), http.StatusText(int(status.Code))
	response.ContentLength = int64(len(body))
	response.Header = http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(body))}}
	return nil
}
