package tls

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// inOrder is canary, replica, poolers, primary.
var inOrder = []string{"hippo-a-1-0", "hippo-a-2-0", "hippo-pgbouncer-x", "hippo-pgbouncer-y", "hippo-a-0-0"}

func TestPodsAreAskedOneByOneAndEachIsProvenBeforeTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.request("monday")
		for _, name := range inOrder {
			if got := h.podActions(pods); !slices.Equal(got, []string{name}) {
				t.Fatalf("asked %v, want %s alone", got, name)
			}
			if got := h.podActions(pods); !slices.Equal(got, []string{name}) {
				t.Fatalf("it has not answered, and asked are %v", got)
			}
			pods[name].install()
		}
		if got := h.podActions(pods); len(got) > 0 {
			t.Errorf("all have answered, and asked are %v", got)
		}
		h.quiet()
		if c := h.cluster().Status.Conditions[0]; c.Status != metav1.ConditionTrue || c.Reason != "Proven" {
			t.Errorf("condition = %+v", c)
		}
	})
}

func TestAPodThatAgreesButServesTheOldStopsTheStage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.request("monday")
		h.podActions(pods)
		canary := pods["hippo-a-1-0"]
		canary.stuck = true
		canary.install()
		h.podActions(pods)
		if got := h.podActions(pods); len(got) > 0 {
			t.Fatalf("the canary serves the old leaf, and asked are %v", got)
		}
		blockers := h.cluster().Status.TLS.Blockers
		if len(blockers) == 0 || blockers[0].Party != canary.name || blockers[0].Reason != string(reason.StillServingOld) {
			t.Fatalf("blockers = %+v", blockers)
		}
		for _, e := range h.cluster().Status.TLS.Endpoints {
			if want := map[bool]string{true: string(reason.StillServingOld)}[e.Name == "hippo-a-1-0:postgres"]; want != "" && e.Reason != want {
				t.Errorf("%s: reason %q, want %q", e.Name, e.Reason, want)
			}
		}
		canary.stuck = false
		canary.install() // the reload takes effect, and the agent has nothing new to say of its revision
		h.pass(30 * time.Second)
		if got := h.podActions(pods); !slices.Equal(got, []string{"hippo-a-2-0"}) {
			t.Errorf("the canary serves the new leaf, and asked are %v", got)
		}
	})
}

func TestAPodThatDoesNotConfirmStopsTheStageAndIsNamed(t *testing.T) {
	cases := map[string]struct {
		how    func(p *simPod)
		reason reason.Code
		says   string
	}{
		"silent": {how: func(*simPod) {}, reason: reason.AwaitingActivation, says: "hippo-a-1-0"},
		"refuses": {reason: reason.AgentRefused, says: "does not parse", how: func(p *simPod) {
			p.agent.Say(func(r *agentapi.Report) {
				r.Problem = &agentapi.Problem{Reason: agentapi.MaterialInvalid, Message: "server.crt does not parse"}
			})
		}},
		"gone": {reason: reason.AgentUnreachable, says: "hippo-a-1-0", how: func(p *simPod) { p.agent.Close() }},
		"crashed": {reason: reason.AgentUnreachable, says: "hippo-a-1-0", how: func(p *simPod) {
			p.agent.Close()
			p.change(func(pod *corev1.Pod) { pod.Status.InitContainerStatuses[0].Started = ptr.To(false) })
		}},
		"cannot be dialed": {reason: reason.NotProven, says: "connection refused", how: func(p *simPod) {
			p.mute = agenttest.ErrNobodyListens
			p.install()
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods := hippos(t)
				before := map[string]string{}
				for name, p := range pods {
					before[name] = p.object().Annotations[material.ActivateAnnotation]
				}
				h.request("monday")
				h.podActions(pods)
				c.how(pods["hippo-a-1-0"])
				for range 5 {
					h.podActions(pods)
					h.pass(retryMax)
				}
				for name, p := range pods {
					if got := p.object().Annotations[material.ActivateAnnotation]; name != "hippo-a-1-0" && got != before[name] {
						t.Errorf("%s was asked although the canary has not confirmed", name)
					}
				}
				status := h.cluster().Status
				if len(status.TLS.Blockers) == 0 {
					t.Fatalf("no pod is named: %+v", status.TLS)
				}
				if b := status.TLS.Blockers[0]; b.Party != "hippo-a-1-0" || b.Reason != string(c.reason) || !strings.Contains(b.Message, c.says) {
					t.Errorf("blocker = %+v, want %s that says %q", b, c.reason, c.says)
				}
				if condition := status.Conditions[0]; condition.Status != metav1.ConditionFalse || condition.Reason != string(c.reason) {
					t.Errorf("condition = %+v, want %s", condition, c.reason)
				}
				if status.TLS.State != string(plan.Waiting) {
					t.Errorf("state = %s, want Waiting", status.TLS.State)
				}
			})
		})
	}
}

func TestWaitingWritesNothingAndPausesGrow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		pods["hippo-a-1-0"].mute = agenttest.ErrNobodyListens
		h.request("monday")
		h.podActions(pods)
		pods["hippo-a-1-0"].install()
		h.podActions(pods)
		h.events()
		var pauses []time.Duration
		for range 7 {
			result, writes := h.reconcile()
			if len(writes) > 0 {
				t.Errorf("waiting, and there were writes: %v", writes)
			}
			pauses = append(pauses, result.RequeueAfter)
			h.pass(result.RequeueAfter)
		}
		if !slices.IsSorted(pauses) || pauses[0] > 4*time.Second || pauses[6] != retryMax {
			t.Errorf("pauses %v do not grow from a second to half a minute", pauses)
		}
		if events := h.events(); len(events) > 0 {
			t.Errorf("waiting, and there were events: %v", events)
		}
	})
}

func TestEachChangeIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.request("monday")
		for _, name := range inOrder {
			h.podActions(pods)
			pods[name].agent.Say(func(r *agentapi.Report) {
				r.Problem = &agentapi.Problem{Reason: agentapi.AwaitingDelivery, Message: "not yet"}
			})
			h.podActions(pods)
			pods[name].install()
		}
		h.podActions(pods)
		h.quietKeepingEvents()
		count := map[string]int{}
		for _, e := range h.events() {
			count[strings.Join(strings.Fields(e)[:2], " ")] += 1 + strings.Count(e, "; ") // several certificates are told of in one event
		}
		want := map[string]int{
			"Normal Issued":    1 + 3*2 + 2, // leaves: the operator's, the instances', the poolers'
			"Normal Activated": 5, "Normal Proven": 5,
		}
		if diff := cmp.Diff(want, count); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// quietKeepingEvents is quiet without forgetting.
func (h *fixture) quietKeepingEvents() {
	h.t.Helper()
	for range 10 {
		synctest.Wait() // for what the agents report: a look that comes before would find nothing to do
		if _, writes := h.reconcile(); len(writes) == 0 {
			return
		}
	}
	h.t.Fatal("did not converge")
}

func TestARestartProvesEverythingAgainAndTellsNothingNew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		before := h.cluster().Status
		h.pass(time.Hour)
		h.restart()
		looked := 0
		h.probed = countingDial(&looked, h.look)
		if _, writes := h.reconcile(); len(writes) > 0 {
			t.Errorf("after a restart there were writes: %v", writes)
		}
		if want := 3*3 + 2*2; looked != want {
			t.Errorf("%d handshakes, want %d: each port of each pod", looked, want)
		}
		if events := h.events(); len(events) > 0 {
			t.Errorf("after a restart there were events: %v", events)
		}
		if diff := cmp.Diff(before, h.cluster().Status); diff != "" {
			t.Errorf("status (-before +after):\n%s", diff)
		}
		_ = pods
	})
}

func TestTheStatusSaysWhatIsServed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		status := h.cluster().Status.TLS
		var got []v1beta1.EndpointStatus
		for _, e := range status.Endpoints {
			if strings.HasPrefix(e.Name, "hippo-a-0-0:") || strings.HasPrefix(e.Name, "hippo-pgbouncer-x:") {
				got = append(got, e)
			}
		}
		endpoint := func(pod, port string) v1beta1.EndpointStatus {
			p := pods[pod]
			return v1beta1.EndpointStatus{
				Name: pod + ":" + port, Serial: p.facts.Serial, Issuer: "CN=hippo server ca g1",
				NotAfter: &metav1.Time{Time: p.facts.NotAfter.Local()}, Revision: h.secret(p.party).Annotations[material.RevisionAnnotation],
				ProvenSince: &metav1.Time{Time: h.now.Local()},
			}
		}
		want := []v1beta1.EndpointStatus{
			endpoint("hippo-a-0-0", "agent"), endpoint("hippo-a-0-0", "patroni"), endpoint("hippo-a-0-0", "postgres"),
			endpoint("hippo-pgbouncer-x", "agent"), endpoint("hippo-pgbouncer-x", "pgbouncer"),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("endpoints (-want +got):\n%s", diff)
		}
		var authorities []string
		for _, a := range status.Authorities {
			authorities = append(authorities, a.Name)
			if left := a.NotAfter.Sub(h.now); left != wanted.AuthorityLife {
				t.Errorf("%s ends in %s", a.Name, left)
			}
		}
		if !slices.Equal(authorities, []string{"client-g1", "server-g1"}) {
			t.Errorf("authorities = %v", authorities)
		}
		next, err := time.Parse(time.RFC3339, status.NextRenewal)
		if err != nil || next.Sub(h.now) > 20*24*time.Hour || next.Sub(h.now) < 17*24*time.Hour {
			t.Errorf("next renewal %s, %v", status.NextRenewal, err)
		}
		if status.State != string(plan.Steady) || len(status.Blockers) > 0 {
			t.Errorf("state %s, blockers %v", status.State, status.Blockers)
		}
	})
}

func TestAPodThatServesNothingHoldsNoOtherUp(t *testing.T) {
	cases := map[string]func(p *simPod){
		"not started": func(p *simPod) {
			p.change(func(pod *corev1.Pod) {
				pod.Status.InitContainerStatuses[0].Started = ptr.To(false)
				pod.Status.ContainerStatuses[0] = corev1.ContainerStatus{Name: pod.Status.ContainerStatuses[0].Name}
			})
		},
		"database down": func(p *simPod) {
			p.change(func(pod *corev1.Pod) { pod.Status.ContainerStatuses[0].Ready = false })
			p.agent.Say(func(r *agentapi.Report) { r.Problem = &agentapi.Problem{Reason: agentapi.ProcessNotReady} })
		},
		"gone":   func(p *simPod) { p.h.delete(p.object()) },
		"failed": func(p *simPod) { p.change(func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed }) },
	}
	for name, how := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods := hippos(t)
				how(pods["hippo-a-1-0"])
				delete(pods, "hippo-a-1-0")
				h.request("monday")
				if got := h.podActions(pods); !slices.Equal(got, []string{"hippo-a-2-0"}) {
					t.Errorf("asked %v, want the next replica", got)
				}
			})
		})
	}
}

func TestAnExpiredIdentityIsRenewedFirstAndTheAgentsReachedWithIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.stop()
		h.pass(31 * 24 * time.Hour) // client leaves are over, server leaves are not
		h.restart()
		h.reconcile()
		if m := h.r.inspectByName(t, h, "hippo-operator-tls"); m.Leaves[0].Problem != "" {
			t.Fatalf("the operator's leaf: %+v", m.Leaves[0])
		}
		synctest.Wait()
		time.Sleep(time.Second) // of the bubble: the agents refused the first question
		synctest.Wait()
		if got := h.podActions(pods); len(got) == 0 {
			t.Errorf("no agent was reached: %+v", h.cluster().Status.TLS.Blockers)
		}
	})
}

func TestUrgencyPassesAStoppedStage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.request("monday")
		h.podActions(pods) // the canary is asked and never answers
		h.pass(26 * 24 * time.Hour)
		h.podActions(pods)
		if got := h.podActions(pods); len(got) < 2 {
			t.Errorf("leaves end in four days, and asked are %v", got)
		}
		if b := h.cluster().Status.TLS.Blockers; len(b) == 0 || b[0].Party != "hippo-a-1-0" {
			t.Errorf("the broken pod is not named any more: %+v", b)
		}
	})
}

// A handshake of long ago is no evidence: it is made again after some minutes, and takes no write when nothing has changed.
func TestAProofGrowsOld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		looks := 0
		h.probed = countingDial(&looks, h.look)
		result, _ := h.reconcile()
		if looks > 0 || result.RequeueAfter == 0 || result.RequeueAfter > 15*time.Minute {
			t.Errorf("%d handshakes at once, and a look after %s", looks, result.RequeueAfter)
		}
		h.pass(result.RequeueAfter)
		result, writes := h.reconcile()
		if looks != 5+3*2+2*1 || len(writes) > 0 || len(h.events()) > 0 { // agents; patroni and PostgreSQL; PgBouncer
			t.Errorf("%d handshakes, and writes %v", looks, writes)
		}
		pods["hippo-a-1-0"].mute = agenttest.ErrNobodyListens
		if h.reconcile(); h.cluster().Status.Conditions[0].Reason != "Proven" {
			t.Errorf("before its time: %+v", h.cluster().Status.Conditions[0])
		}
		h.pass(result.RequeueAfter)
		h.reconcile()
		if c := h.cluster().Status.Conditions[0]; c.Reason != string(reason.NotProven) || !strings.Contains(c.Message, "hippo-a-1-0") {
			t.Errorf("condition = %+v", c)
		}
	})
}
