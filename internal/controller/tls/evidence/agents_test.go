package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// fakeAgents is one operator that follows one agent.
type fakeAgents struct {
	t      *testing.T
	wire   *agenttest.Wire
	agents *Agents
	stop   context.CancelFunc
	agent  *agenttest.Agent
	caller *Identity
	world  agenttest.Authorities

	mu   sync.Mutex
	news []types.NamespacedName
}

// identityOf is an identity with a client leaf of that name.
func identityOf(t *testing.T, a agenttest.Authorities, commonName, revision string) *Identity {
	t.Helper()
	bundle, err := pki.ParseBundle(a[facts.Server].EncodeCertificate())
	if err != nil {
		t.Fatal(err)
	}
	return &Identity{Certificate: a.Leaf(t, facts.Client, commonName).TLS(), Anchors: bundle, Revision: revision}
}

const (
	podHost      = "hippo-a-0-0.hippo-pods.zoo.svc"
	agentAddress = "10.0.0.1:8443"
)

var theKey = Run{UID: "hippo-a-0-0-uid", Address: "10.0.0.1"}

func newFakeAgents(t *testing.T) *fakeAgents {
	t.Helper()
	w := &fakeAgents{t: t, wire: agenttest.NewWire(), world: agenttest.NewAuthorities(t, hippo.Name, time.Now())}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	w.agents = NewAgents(ctx, time.Now, func(cluster types.NamespacedName) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.news = append(w.news, cluster)
	}, w.wire.Dial)
	server := w.world.Leaf(t, facts.Server, "hippo-a-0", podHost)
	w.agent = agenttest.NewAgent("hippo-a-0-0", time.Now, w.world.Material(t, server, nil))
	w.caller = identityOf(t, w.world, agentapi.OperatorIdentity, "r1")
	return w
}

func (w *fakeAgents) serve() { w.agent.Serve(w.t, w.wire, agentAddress) }

func (w *fakeAgents) target() Target {
	return Target{Cluster: hippo, Pod: "hippo-a-0-0", ServerName: podHost, Identity: w.caller}
}

func (w *fakeAgents) watch() {
	w.agents.Watch(theKey, w.target())
	synctest.Wait()
}

// reported returns how often a report was passed on for the cluster since the last call.
func (w *fakeAgents) reported() int {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.news)
	for _, cluster := range w.news {
		if cluster != hippo {
			w.t.Errorf("reported for %s, want %s", cluster, hippo)
		}
	}
	w.news = nil
	return n
}

func (w *fakeAgents) sequence() uint64 {
	if report := w.agents.Report(theKey); report != nil {
		return report.Sequence
	}
	return 0
}

var hippo = types.NamespacedName{Namespace: "zoo", Name: "hippo"}

// blackhole answers nothing: neither a connection nor, if it takes connections, a word on one.
func blackhole(t *testing.T, w *agenttest.Wire, address string, takes bool) {
	l := w.Listen(address)
	if !takes {
		return
	}
	var taken []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			taken = append(taken, c)
		}
	}()
	t.Cleanup(func() {
		time.Sleep(2 * answerTime) // of the bubble: no caller may wait for longer
		_ = l.Close()
		<-done
		for _, c := range taken {
			_ = c.SetReadDeadline(time.Now())
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a connection without an answer is still open")
			}
		}
	})
}

// bubble runs a test in a bubble of synctest, and fails when it leaves a goroutine behind.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// Runs last: on a pipe a farewell without a reader takes its time.
		t.Cleanup(func() { time.Sleep(time.Minute) })
		test(t)
	})
}

func TestAReportIsPushedWhenItChangesAndNotAskedForAgainAndAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		w.watch()
		if w.sequence() != 1 || w.reported() != 1 {
			t.Fatalf("the first report is not there, or not passed on: %d", w.sequence())
		}
		start := time.Now()
		w.agent.Say(func(r *agentapi.Report) { r.Active = "abc" })
		synctest.Wait()
		if w.sequence() != 2 || w.reported() != 1 || time.Since(start) != 0 {
			t.Errorf("a change took %s to be passed on", time.Since(start))
		}
		if got := w.agents.Report(theKey).Active; got != "abc" {
			t.Errorf("active = %q", got)
		}
		before := len(w.agent.Queries())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if asked := len(w.agent.Queries()) - before; asked > 11 || asked < 10 {
			t.Errorf("in ten quiet minutes it was asked %d times, want one for each 55 s", asked)
		}
		if n := w.reported(); n > 0 {
			t.Errorf("nothing changed, and %d reports were passed on", n)
		}
		query, err := url.ParseQuery(w.agent.Queries()[before])
		if err != nil || query.Get("after") != "2" || query.Get("boot") != "boot-1" || query.Get("wait") != "55" {
			t.Errorf("query = %v, %v", query, err)
		}
	})
}

func TestAnAgentThatStartsAnewIsNews(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		w.watch()
		w.reported()
		w.agent.Say(func(r *agentapi.Report) { r.Boot, r.Sequence = "boot-2", 0 })
		synctest.Wait()
		if r := w.agents.Report(theKey); r == nil || r.Boot != "boot-2" || r.Sequence != 1 || w.reported() != 1 {
			t.Errorf("report after a restart = %+v", r)
		}
	})
}

func TestAnAgentThatIsGoneIsUnknownAndTheClusterIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		w.watch()
		w.reported()
		w.agent.Close()
		synctest.Wait()
		if w.agents.Report(theKey) != nil || w.reported() != 1 {
			t.Fatalf("it is gone, and the report is %+v", w.agents.Report(theKey))
		}
		dials := w.wire.Dialed()
		time.Sleep(time.Minute)
		if tried := w.wire.Dialed() - dials; tried < 8 || tried > 14 {
			t.Errorf("dialed %d times in a minute, want pauses that grow to 10 s", tried)
		}
		if w.reported() > 0 {
			t.Error("still gone is no news")
		}
		w.serve()
		time.Sleep(reportPauseMax)
		synctest.Wait()
		if w.agents.Report(theKey) == nil || w.reported() != 1 {
			t.Error("it is back, and the cluster was not told")
		}
	})
}

func TestAReportThatCannotBeTrustedIsUnknown(t *testing.T) {
	cases := map[string]func(w *fakeAgents){
		"no server": func(w *fakeAgents) { w.agent.Close() },
		"no connection": func(w *fakeAgents) {
			w.agent.Close()
			blackhole(w.t, w.wire, agentAddress, false)
		},
		"silence": func(w *fakeAgents) {
			w.agent.Close()
			blackhole(w.t, w.wire, agentAddress, true)
		},
		"certificate for another name": func(w *fakeAgents) {
			w.agent.Use(w.world.Material(w.t, w.world.Leaf(w.t, facts.Server, "x", "hippo-a-1-0.hippo-pods.zoo.svc"), nil))
		},
		"certificate of another authority": func(w *fakeAgents) {
			other := agenttest.NewAuthorities(w.t, hippo.Name, time.Now())
			w.agent.Use(other.Material(w.t, other.Leaf(w.t, facts.Server, "x", podHost), nil))
		},
		"client certificate": func(w *fakeAgents) {
			leaf, err := w.world[facts.Server].Issue(pki.LeafRequest{CommonName: "x", DNSNames: []string{podHost}, Usage: pki.ClientAuth,
				NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)})
			if err != nil {
				w.t.Fatal(err)
			}
			w.agent.Use(w.world.Material(w.t, leaf, nil))
		},
		"the caller refused": func(w *fakeAgents) { w.caller = identityOf(w.t, w.world, agentapi.ReplicationIdentity, "r2") },
		"an error":           func(w *fakeAgents) { w.agent.AnswerWith(http.StatusInternalServerError) },
		"another pod's":      func(w *fakeAgents) { w.agent.Say(func(r *agentapi.Report) { r.Pod = "hippo-a-1-0" }) },
		"too long": func(w *fakeAgents) {
			w.agent.Say(func(r *agentapi.Report) { r.Active = strings.Repeat("a", maxReportLength) })
		},
		"expired": func(*fakeAgents) { time.Sleep(100 * time.Hour) },
	}
	for name, how := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newFakeAgents(t)
				w.serve()
				how(w)
				w.watch()
				time.Sleep(answerTime)
				synctest.Wait()
				if report := w.agents.Report(theKey); report != nil {
					t.Errorf("report = %+v, want it unknown", report)
				}
				if w.reported() != 0 {
					t.Error("it was unknown before, and is no news")
				}
			})
		})
	}
}

func TestTheNextQuestionIsAskedWithTheRenewedIdentity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		w.watch()
		w.caller = identityOf(t, w.world, agentapi.OperatorIdentity, "r2")
		w.watch()
		w.agent.Say(func(*agentapi.Report) {})
		synctest.Wait()
		asked := w.agent.Identities()
		if want := pki.Facts(w.caller.Certificate.Leaf).Serial; asked[len(asked)-1] != want {
			t.Errorf("asked as %s, want %s", asked[len(asked)-1], want)
		}
	})
}

func TestARenewedIdentityEndsThePauseAfterARefusal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		good := w.caller
		w.caller = identityOf(t, w.world, agentapi.ReplicationIdentity, "r1")
		w.watch()
		time.Sleep(5 * time.Minute)
		w.caller = good
		w.caller.Revision = "r2"
		w.watch()
		if w.agents.Report(theKey) == nil {
			t.Error("the pause went on with a good identity at hand")
		}
		w.watch() // with the same: nothing to wake for
		if w.reported() != 1 {
			t.Error("the report was not passed on exactly once")
		}
	})
}

func TestAnAgentThatAnswersWithoutWaitingIsNotAskedInATightLoop(t *testing.T) {
	for _, status := range []int{http.StatusNotModified, http.StatusTooManyRequests} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newFakeAgents(t)
				w.serve()
				w.watch()
				w.agent.AnswerWith(status)
				w.agent.Say(func(*agentapi.Report) {}) // ends the long poll
				synctest.Wait()
				before := len(w.agent.Queries())
				time.Sleep(10 * time.Second)
				if asked := len(w.agent.Queries()) - before; asked > 100 {
					t.Errorf("asked %d times in ten seconds", asked)
				}
			})
		})
	}
}

func TestWhoIsNotFollowedAnyMoreCostsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		w.watch()
		other := types.NamespacedName{Namespace: "zoo", Name: "rhino"}
		w.agents.KeepOnly(other, nil)
		if w.agents.Report(theKey) == nil {
			t.Fatal("another cluster's clean-up took the watcher away")
		}
		w.agents.KeepOnly(hippo, map[Run]bool{theKey: true})
		if w.agents.Report(theKey) == nil {
			t.Fatal("it was to be kept")
		}
		w.reported()
		w.agents.KeepOnly(hippo, nil)
		dials := w.wire.Dialed()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := w.wire.Dialed() - dials; n > 0 {
			t.Errorf("it is followed no more, and was dialed %d times", n)
		}
		if w.agents.Report(theKey) != nil || w.reported() != 0 {
			t.Error("it is followed no more, and reports are still passed on")
		}
		w.watch()
		if w.agents.Report(theKey) == nil {
			t.Error("it was not followed again")
		}
	})
}

func TestFollowingEndsWithTheOperator(t *testing.T) {
	bubble(t, func(t *testing.T) { // which fails when a goroutine is left
		w := newFakeAgents(t)
		w.serve()
		w.watch()
		w.stop()
		synctest.Wait()
		if w.reported() != 1 {
			t.Error("the end of the operator was passed on as a report")
		}
	})
}

func TestWithoutAnIdentityNoAgentIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		w.caller = nil
		w.watch()
		w.agents.Await(t.Context(), map[Run]bool{theKey: true})
		if w.wire.Dialed() > 0 {
			t.Error("it was dialed without an identity")
		}
	})
}

func TestAnObservationWaitsForFirstReportsAndNotForLong(t *testing.T) {
	cases := map[string]struct {
		how  func(w *fakeAgents)
		want time.Duration
	}{
		"there":       {func(w *fakeAgents) { w.serve() }, 0},
		"not there":   {func(*fakeAgents) {}, 0},
		"says nought": {func(w *fakeAgents) { blackhole(w.t, w.wire, agentAddress, true) }, firstReportTime},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newFakeAgents(t)
				c.how(w)
				w.agents.Watch(theKey, w.target())
				for _, want := range []time.Duration{c.want, 0} {
					start := time.Now()
					w.agents.Await(t.Context(), map[Run]bool{theKey: true})
					if got := time.Since(start); got != want {
						t.Errorf("waited %s, want %s", got, want)
					}
				}
			})
		})
	}
}

func TestWaitingForAFirstReportEndsWithTheReconciliation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		blackhole(t, w.wire, agentAddress, false)
		w.agents.Watch(theKey, w.target())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		w.agents.Await(ctx, map[Run]bool{theKey: true})
		if got := time.Since(start); got != time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("waited %s", got)
		}
	})
}

func TestManyClustersAreWatchedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newFakeAgents(t)
		w.serve()
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				key := Run{UID: types.UID(fmt.Sprint(i % 4)), Address: "10.0.0.1"}
				for range 20 {
					w.agents.Watch(key, w.target())
					w.agents.Report(key)
					if i%2 == 0 {
						w.agents.KeepOnly(hippo, map[Run]bool{key: true})
					}
				}
			})
		}
		wait.Wait()
		synctest.Wait()
		w.agents.KeepOnly(hippo, nil)
		if len(w.agents.watchers) > 0 {
			t.Errorf("%d watchers are left", len(w.agents.watchers))
		}
		w.reported()
	})
}
