package evidence

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

// How the operator follows the agents.
const (
	reportWait      = 55 * time.Second // an agent with nothing new answers after that
	answerTime      = 10 * time.Second // to connect and to answer, beyond that
	firstReportTime = 2 * time.Second  // that an observation leaves to an agent which was never heard of
	reportPauseMin  = 100 * time.Millisecond
	reportPauseMax  = 10 * time.Second
	maxReportLength = 1 << 20
)

// Run is one run of a pod: a pod that comes back under its name is another.
type Run struct {
	UID     types.UID
	Address string
}

// Target is what is needed to speak to an agent.
type Target struct {
	Cluster    types.NamespacedName
	Pod        string
	ServerName string
	Identity   *Identity
}

// Dial is net.Dialer's DialContext.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Agents follows the report of every agent by long poll: one goroutine each.
type Agents struct {
	ctx    context.Context
	notify func(types.NamespacedName)
	now    func() time.Time
	dial   Dial

	mu       sync.Mutex
	watchers map[Run]*watcher
}

type watcher struct {
	cancel   context.CancelFunc
	first    context.Context // ends with the first answer, or when there was time enough for one
	answered context.CancelFunc
	renewed  chan struct{} // says that the identity is another

	mu     sync.Mutex
	target Target
	report *agentapi.Report // nil: unknown
}

// NewAgents follows no agent yet. Until ctx ends, notify is called with the cluster of each new report.
func NewAgents(ctx context.Context, now func() time.Time, notify func(types.NamespacedName), dial Dial) *Agents {
	return &Agents{ctx: ctx, now: now, notify: notify, dial: dial, watchers: map[Run]*watcher{}}
}

// Watch follows an agent, from now on with this target.
func (a *Agents) Watch(key Run, target Target) {
	if target.Identity == nil {
		return // ctx has ended: the report has no reader
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.watchers[key]; w != nil {
		w.setTarget(target)
		return
	}
	ctx, cancel := context.WithCancel(a.ctx)
	w := &watcher{cancel: cancel, target: target, renewed: make(chan struct{}, 1)}
	w.first, w.answered = context.WithTimeout(ctx, firstReportTime)
	a.watchers[key] = w
	go a.follow(ctx, key, w)
}

// Await gives agents that were never heard of the time to report: right after a
// start nothing is known of any, and that is no news.
func (a *Agents) Await(ctx context.Context, keys map[Run]bool) {
	for key := range keys {
		a.mu.Lock()
		w := a.watchers[key]
		a.mu.Unlock()
		if w == nil {
			continue
		}
		select {
		case <-w.first.Done():
		case <-ctx.Done():
			return
		}
	}
}

// KeepOnly stops following a cluster's agents that are not among the keys.
func (a *Agents) KeepOnly(cluster types.NamespacedName, keys map[Run]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, w := range a.watchers {
		if w.cluster() == cluster && !keys[key] {
			w.cancel()
			delete(a.watchers, key)
		}
	}
}

// Report returns the last report of an agent, nil when it is unknown.
func (a *Agents) Report(key Run) *agentapi.Report {
	a.mu.Lock()
	w := a.watchers[key]
	a.mu.Unlock()
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report
}

func (a *Agents) follow(ctx context.Context, key Run, w *watcher) {
	defer w.answered()
	pause := reportPauseMin
	for {
		report, err := a.ask(ctx, key, w)
		if ctx.Err() != nil {
			return // the agent is followed no more
		}
		news := (report != nil || err != nil) && w.set(report)
		w.answered()
		if news {
			a.notify(w.cluster())
		}
		if err == nil {
			pause = reportPauseMin
		}
		if err == nil && news {
			continue // an agent that says nothing new at once is not asked in a tight loop
		}
		select {
		case <-ctx.Done():
		case <-w.renewed:
			pause = reportPauseMin
		case <-time.After(pause):
			pause = min(2*pause, reportPauseMax)
		}
	}
}

var (
	errReportStatus = errors.New("the agent did not answer with a report")
	errReportOther  = errors.New("the report is another pod's")
)

// ask waits for a report newer than the last one; nil when there is none.
func (a *Agents) ask(ctx context.Context, key Run, w *watcher) (*agentapi.Report, error) {
	w.mu.Lock()
	target, last := w.target, w.report
	w.mu.Unlock()
	query, patience := url.Values{}, answerTime
	if last != nil {
		query.Set("after", strconv.FormatUint(last.Sequence, 10))
		query.Set("boot", last.Boot)
		query.Set("wait", strconv.Itoa(int(reportWait/time.Second)))
		patience += reportWait
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address := net.JoinHostPort(key.Address, strconv.Itoa(agentapi.AgentPort))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+agentapi.PathReport+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking the agent of %s: %w", target.Pod, err)
	}
	response, err := a.client(target).Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the agent of %s: %w", target.Pod, err)
	}
	defer func() { _ = response.Body.Close() }() // nothing is lost with it
	switch response.StatusCode {
	case http.StatusNotModified:
		return nil, nil
	case http.StatusOK:
		var report agentapi.Report
		if err := json.NewDecoder(io.LimitReader(response.Body, maxReportLength)).Decode(&report); err != nil {
			return nil, fmt.Errorf("reading the report of %s: %w", target.Pod, err)
		}
		if report.Pod != target.Pod { // the poolers share their names, and addresses are used again
			return nil, fmt.Errorf("asking the agent of %s: %q answered: %w", target.Pod, report.Pod, errReportOther)
		}
		return &report, nil
	}
	return nil, fmt.Errorf("asking the agent of %s: %s: %w", target.Pod, response.Status, errReportStatus)
}

// client makes a client for one question: a connection is never kept, so that
// each one is made, and verified, with the certificates of the moment. It has
// limits of its own because http.Transport goes on dialing after a request has ended.
func (a *Agents) client(target Target) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			return a.dial(ctx, network, address)
		},
		TLSHandshakeTimeout: answerTime,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			ServerName:         target.ServerName,
			Certificates:       []tls.Certificate{target.Identity.Certificate},
			InsecureSkipVerify: true, // VerifyConnection does it, and at least as strictly as OpenSSL
			VerifyConnection: func(state tls.ConnectionState) error {
				return pki.Verify(pki.VerifyRequest{
					Chain: state.PeerCertificates, Anchors: target.Identity.Anchors, At: a.now(),
					Usage: pki.ServerAuth, DNSName: target.ServerName,
				})
			},
		},
	}}
}

func (w *watcher) cluster() types.NamespacedName {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.target.Cluster
}

func (w *watcher) setTarget(target Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	renewed := w.target.Identity.Revision != target.Identity.Revision
	w.target = target
	if renewed {
		select {
		case w.renewed <- struct{}{}:
		default: // it says so already
		}
	}
}

// set stores a report and tells whether that is news.
func (w *watcher) set(report *agentapi.Report) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	news := (w.report == nil) != (report == nil) ||
		report != nil && (report.Boot != w.report.Boot || report.Sequence != w.report.Sequence)
	w.report = report
	return news
}
