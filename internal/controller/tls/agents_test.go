package tls

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// watchtower is one operator that follows one agent.
type watchtower struct {
	t      *testing.T
	wire   *wire
	agents *agents
	stop   context.CancelFunc
	agent  *fakeAgent
	caller *identity
	world  *authorities

	mu   sync.Mutex
	news []types.NamespacedName
}

// authorities of both domains, to issue from.
type authorities map[rotation.Domain]*pki.Authority

func newAuthorities(t *testing.T, now time.Time) *authorities {
	t.Helper()
	out := authorities{}
	for _, domain := range rotation.Domains() {
		authority, err := pki.NewAuthority(pki.AuthorityRequest{
			CommonName: authorityCommonName(hippo.Name, domain, "1"), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		out[domain] = authority
	}
	return &out
}

func (a *authorities) leaf(t *testing.T, domain rotation.Domain, commonName string, names ...string) *pki.KeyPair {
	t.Helper()
	authority := (*a)[domain]
	pair, err := authority.Issue(pki.LeafRequest{
		CommonName: commonName, DNSNames: names, Usage: usages[domain],
		NotBefore: authority.Certificate.NotBefore, NotAfter: authority.Certificate.NotBefore.Add(100 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// material of a party with these leaves.
func (a *authorities) material(t *testing.T, server, client *pki.KeyPair) map[string][]byte {
	t.Helper()
	data := map[string][]byte{}
	for domain, pair := range map[rotation.Domain]*pki.KeyPair{rotation.Server: server, rotation.Client: client} {
		data[bundleFiles[domain]] = (*a)[domain].EncodeCertificate()
		if pair == nil {
			continue
		}
		key, err := pair.EncodeKey()
		if err != nil {
			t.Fatal(err)
		}
		data[pairFiles[domain].certificate], data[pairFiles[domain].key] = pair.EncodeChain(), key
	}
	return data
}

func (a *authorities) identity(t *testing.T, commonName, revision string) *identity {
	t.Helper()
	bundle, err := pki.ParseBundle((*a)[rotation.Server].EncodeCertificate())
	if err != nil {
		t.Fatal(err)
	}
	return &identity{certificate: tlsCertificate(a.leaf(t, rotation.Client, commonName)), anchors: bundle, revision: revision}
}

const (
	podHost      = "hippo-a-0-0.hippo-pods.zoo.svc"
	agentAddress = "10.0.0.1:8443"
)

var theKey = agentKey{uid: "hippo-a-0-0-uid", address: "10.0.0.1"}

func newWatchtower(t *testing.T) *watchtower {
	t.Helper()
	w := &watchtower{t: t, wire: newWire(), world: newAuthorities(t, time.Now())}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	w.agents = newAgents(ctx, time.Now, func(cluster types.NamespacedName) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.news = append(w.news, cluster)
	})
	w.agents.dial = w.wire.dial
	server := w.world.leaf(t, rotation.Server, "hippo-a-0", podHost)
	w.agent = newFakeAgent("hippo-a-0-0", time.Now, w.world.material(t, server, nil))
	w.caller = w.world.identity(t, agentapi.OperatorIdentity, "r1")
	return w
}

func (w *watchtower) serve() { w.agent.serve(w.t, w.wire, agentAddress) }

func (w *watchtower) target() agentTarget {
	return agentTarget{cluster: hippo, pod: "hippo-a-0-0", serverName: podHost, identity: w.caller}
}

func (w *watchtower) watch() {
	w.agents.watch(theKey, w.target())
	synctest.Wait()
}

// told returns how often the cluster was told since the last call.
func (w *watchtower) told() int {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.news)
	for _, cluster := range w.news {
		if cluster != hippo {
			w.t.Errorf("told %s, want %s", cluster, hippo)
		}
	}
	w.news = nil
	return n
}

func (w *watchtower) sequence() uint64 {
	if report := w.agents.report(theKey); report != nil {
		return report.Sequence
	}
	return 0
}

func TestAReportIsPushedWhenItChangesAndNotAskedForAgainAndAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		w.watch()
		if w.sequence() != 1 || w.told() != 1 {
			t.Fatalf("the first report is not there, or not told: %d", w.sequence())
		}
		start := time.Now()
		w.agent.say(func(r *agentapi.Report) { r.Active = "abc" })
		synctest.Wait()
		if w.sequence() != 2 || w.told() != 1 || time.Since(start) != 0 {
			t.Errorf("a change took %s to be told", time.Since(start))
		}
		if got := w.agents.report(theKey).Active; got != "abc" {
			t.Errorf("active = %q", got)
		}
		before := len(w.agent.queries())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if asked := len(w.agent.queries()) - before; asked > 11 || asked < 10 {
			t.Errorf("in ten quiet minutes it was asked %d times, want one for each 55 s", asked)
		}
		if n := w.told(); n > 0 {
			t.Errorf("nothing changed, and the cluster was told %d times", n)
		}
		query, err := url.ParseQuery(w.agent.queries()[before])
		if err != nil || query.Get("after") != "2" || query.Get("boot") != "boot-1" || query.Get("wait") != "55" {
			t.Errorf("query = %v, %v", query, err)
		}
	})
}

func TestAnAgentThatStartsAnewIsNews(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		w.watch()
		w.told()
		w.agent.say(func(r *agentapi.Report) { r.Boot, r.Sequence = "boot-2", 0 })
		synctest.Wait()
		if r := w.agents.report(theKey); r == nil || r.Boot != "boot-2" || r.Sequence != 1 || w.told() != 1 {
			t.Errorf("report after a restart = %+v", r)
		}
	})
}

func TestAnAgentThatIsGoneIsUnknownAndTheClusterIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		w.watch()
		w.told()
		w.agent.close()
		synctest.Wait()
		if w.agents.report(theKey) != nil || w.told() != 1 {
			t.Fatalf("it is gone, and the report is %+v", w.agents.report(theKey))
		}
		dials := w.wire.dialed()
		time.Sleep(time.Minute)
		if tried := w.wire.dialed() - dials; tried < 8 || tried > 14 {
			t.Errorf("dialed %d times in a minute, want pauses that grow to 10 s", tried)
		}
		if w.told() > 0 {
			t.Error("still gone is no news")
		}
		w.serve()
		time.Sleep(reportPauseMax)
		synctest.Wait()
		if w.agents.report(theKey) == nil || w.told() != 1 {
			t.Error("it is back, and nobody knows")
		}
	})
}

func TestAReportThatCannotBeTrustedIsUnknown(t *testing.T) {
	cases := map[string]func(w *watchtower){
		"no server": func(w *watchtower) { w.agent.close() },
		"no connection": func(w *watchtower) {
			w.agent.close()
			w.wire.blackhole(w.t, agentAddress, false)
		},
		"silence": func(w *watchtower) {
			w.agent.close()
			w.wire.blackhole(w.t, agentAddress, true)
		},
		"certificate for another name": func(w *watchtower) {
			w.agent.use(w.world.material(w.t, w.world.leaf(w.t, rotation.Server, "x", "hippo-a-1-0.hippo-pods.zoo.svc"), nil))
		},
		"certificate of another authority": func(w *watchtower) {
			other := newAuthorities(w.t, time.Now())
			w.agent.use(other.material(w.t, other.leaf(w.t, rotation.Server, "x", podHost), nil))
		},
		"client certificate": func(w *watchtower) {
			leaf, err := (*w.world)[rotation.Server].Issue(pki.LeafRequest{CommonName: "x", DNSNames: []string{podHost}, Usage: pki.ClientAuth,
				NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)})
			if err != nil {
				w.t.Fatal(err)
			}
			w.agent.use(w.world.material(w.t, leaf, nil))
		},
		"the caller refused": func(w *watchtower) { w.caller = w.world.identity(w.t, agentapi.ReplicationIdentity, "r2") },
		"an error":           func(w *watchtower) { w.agent.set(func() { w.agent.status = http.StatusInternalServerError }) },
		"another pod's":      func(w *watchtower) { w.agent.say(func(r *agentapi.Report) { r.Pod = "hippo-a-1-0" }) },
		"too long": func(w *watchtower) {
			w.agent.say(func(r *agentapi.Report) { r.Active = strings.Repeat("a", maxReportLength) })
		},
		"expired": func(*watchtower) { time.Sleep(100 * time.Hour) },
	}
	for name, how := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWatchtower(t)
				w.serve()
				how(w)
				w.watch()
				time.Sleep(answerTime)
				synctest.Wait()
				if report := w.agents.report(theKey); report != nil {
					t.Errorf("report = %+v, want it unknown", report)
				}
				if w.told() != 0 {
					t.Error("it was unknown before, and is no news")
				}
			})
		})
	}
}

func TestTheNextQuestionIsAskedWithTheRenewedIdentity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		w.watch()
		w.caller = w.world.identity(t, agentapi.OperatorIdentity, "r2")
		w.watch()
		w.agent.say(func(*agentapi.Report) {})
		synctest.Wait()
		asked := w.agent.identities()
		if want := pki.Facts(w.caller.certificate.Leaf).Serial; asked[len(asked)-1] != want {
			t.Errorf("asked as %s, want %s", asked[len(asked)-1], want)
		}
	})
}

func TestARenewedIdentityEndsThePauseAfterARefusal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		good := w.caller
		w.caller = w.world.identity(t, agentapi.ReplicationIdentity, "r1")
		w.watch()
		time.Sleep(5 * time.Minute)
		w.caller = good
		w.caller.revision = "r2"
		w.watch()
		if w.agents.report(theKey) == nil {
			t.Error("the pause went on with a good identity at hand")
		}
		w.watch() // with the same: nothing to wake for
		if w.told() != 1 {
			t.Error("the report was not told once")
		}
	})
}

func TestAnAgentThatAnswersWithoutWaitingIsNotAskedInATightLoop(t *testing.T) {
	for _, status := range []int{http.StatusNotModified, http.StatusTooManyRequests} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWatchtower(t)
				w.serve()
				w.watch()
				w.agent.set(func() { w.agent.status = status })
				w.agent.say(func(*agentapi.Report) {}) // ends the long poll
				synctest.Wait()
				before := len(w.agent.queries())
				time.Sleep(10 * time.Second)
				if asked := len(w.agent.queries()) - before; asked > 100 {
					t.Errorf("asked %d times in ten seconds", asked)
				}
			})
		})
	}
}

func TestWhoIsNotFollowedAnyMoreCostsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		w.watch()
		other := types.NamespacedName{Namespace: "zoo", Name: "rhino"}
		w.agents.keepOnly(other, nil)
		if w.agents.report(theKey) == nil {
			t.Fatal("another cluster's clean-up took the watcher away")
		}
		w.agents.keepOnly(hippo, map[agentKey]bool{theKey: true})
		if w.agents.report(theKey) == nil {
			t.Fatal("it was to be kept")
		}
		w.told()
		w.agents.keepOnly(hippo, nil)
		dials := w.wire.dialed()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := w.wire.dialed() - dials; n > 0 {
			t.Errorf("it is followed no more, and was dialed %d times", n)
		}
		if w.agents.report(theKey) != nil || w.told() != 0 {
			t.Error("it is followed no more, and still tells")
		}
		w.watch()
		if w.agents.report(theKey) == nil {
			t.Error("it was not followed again")
		}
	})
}

func TestFollowingEndsWithTheOperator(t *testing.T) {
	bubble(t, func(t *testing.T) { // which fails when a goroutine is left
		w := newWatchtower(t)
		w.serve()
		w.watch()
		w.stop()
		synctest.Wait()
		if w.told() != 1 {
			t.Error("the end of the operator was told as news")
		}
	})
}

func TestWithoutAnIdentityNobodyIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		w.caller = nil
		w.watch()
		w.agents.await(t.Context(), map[agentKey]bool{theKey: true})
		if w.wire.dialed() > 0 {
			t.Error("it was dialed without an identity")
		}
	})
}

func TestAnObservationWaitsForFirstReportsAndNotForLong(t *testing.T) {
	cases := map[string]struct {
		how  func(w *watchtower)
		want time.Duration
	}{
		"there":       {func(w *watchtower) { w.serve() }, 0},
		"not there":   {func(*watchtower) {}, 0},
		"says nought": {func(w *watchtower) { w.wire.blackhole(w.t, agentAddress, true) }, firstReportTime},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWatchtower(t)
				c.how(w)
				w.agents.watch(theKey, w.target())
				for _, want := range []time.Duration{c.want, 0} {
					start := time.Now()
					w.agents.await(t.Context(), map[agentKey]bool{theKey: true})
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
		w := newWatchtower(t)
		w.wire.blackhole(t, agentAddress, false)
		w.agents.watch(theKey, w.target())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		w.agents.await(ctx, map[agentKey]bool{theKey: true})
		if got := time.Since(start); got != time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("waited %s", got)
		}
	})
}

func TestManyClustersAreWatchedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWatchtower(t)
		w.serve()
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				key := agentKey{uid: types.UID(fmt.Sprint(i % 4)), address: "10.0.0.1"}
				for range 20 {
					w.agents.watch(key, w.target())
					w.agents.report(key)
					if i%2 == 0 {
						w.agents.keepOnly(hippo, map[agentKey]bool{key: true})
					}
				}
			})
		}
		wait.Wait()
		synctest.Wait()
		w.agents.keepOnly(hippo, nil)
		if len(w.agents.watchers) > 0 {
			t.Errorf("%d watchers are left", len(w.agents.watchers))
		}
		w.told()
	})
}

func TestARemovedPodLeavesNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		if n := len(h.r.agents.watchers); n != len(pods) {
			t.Fatalf("%d watchers for %d pods", n, len(pods))
		}
		h.delete(pods["hippo-a-2-0"].object())
		h.reconcile()
		if n := len(h.r.agents.watchers); n != len(pods)-1 {
			t.Errorf("%d watchers after a pod is gone", n)
		}
		if slices.Contains(sortedKeys(uids(h.r.proofs)), "hippo-a-2-0-uid") {
			t.Error("its handshakes are still remembered")
		}
		h.delete(h.cluster())
		h.reconcile()
		if len(h.r.agents.watchers)+len(h.r.proofs.seen)+len(h.r.proofs.cluster)+len(h.r.retries.waiting) > 0 {
			t.Error("the cluster is gone, and something is remembered of it")
		}
	})
}

func uids(p *proofs) map[string]bool {
	out := map[string]bool{}
	for key := range p.seen {
		out[string(key.uid)] = true
	}
	return out
}
