package tls

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

func TestACustomCertificateIsTrustedFirstAndThenPresentedPodByPod(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		theirs := company(t, "Company CA")
		pair := h.bring(serverSlot, theirs)
		h.change(naming(serverSlot, brought))

		h.onTheWay(pods)
		if got := h.trusted(facts.Server, theirs); got != "all" {
			t.Errorf("%s of the bundles hold the company's authority", got)
		}
		if got := h.trusted(facts.Client, theirs); got != "none" {
			t.Errorf("%s of the bundles of the client domain hold an authority of servers", got)
		}
		if names := serversOf(pods, pair); len(names) > 0 {
			t.Errorf("%v present it, and no client had the time to take its authority", names)
		}
		h.wants(serverSlot.Condition, metav1.ConditionFalse, "Adopting", "Secret company-tls", "Company CA", "clients that hold only the present issuer refuse the new one")
		if status := h.cluster().Status; status.TLS.State != string(plan.Steady) || status.Conditions[0].Status != metav1.ConditionTrue {
			t.Errorf("giving clients time is no trouble: %s, %+v", status.TLS.State, status.Conditions[0])
		}
		told := h.events()
		if admitted := eventsOf(told, "AnchorAdmitted"); len(admitted) != 1 || !strings.Contains(admitted[0], "CN=Company CA is trusted from now on, in the server domain") {
			t.Errorf("events = %v", admitted)
		}

		h.follow()
		order := h.onTheWay(pods)
		if want := []string{"hippo-a-1-0", "hippo-a-2-0", "hippo-a-0-0"}; !slices.Equal(order, want) {
			t.Errorf("asked in the order %v, want %v: the pooler has nothing new", order, want)
		}
		if names := serversOf(pods, pair); !slices.Equal(names, instancePods) {
			t.Errorf("it is presented by %v", names)
		}
		h.wants(serverSlot.Condition, metav1.ConditionTrue, "Presented", "Secret company-tls", "valid until")
		told = h.events()
		if presented := eventsOf(told, "Presented"); len(presented) != 1 || !strings.HasPrefix(presented[0], "Normal") {
			t.Errorf("events = %q, want one that it is presented", presented)
		}

		h.pass(time.Hour)
		h.onTheWay(pods)
		if told := h.events(); len(told) > 0 {
			t.Errorf("at rest there were events: %v", told)
		}
	})
}

func TestWalkHowLongClientsAreGivenIsTheUsersToSay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		pair := h.bring(serverSlot, company(t, "Company CA"))
		h.change(adoption(""))
		h.change(func(c *v1beta1.PostgresCluster) {
			c.Spec.TLS.TrustPropagationDelay = ptr.To(v1beta1.SoakDuration("1h"))
		})
		h.change(naming(serverSlot, brought))
		h.onTheWay(pods)
		h.pass(59 * time.Minute)
		h.onTheWay(pods)
		result, _ := h.reconcile()
		if len(serversOf(pods, pair)) > 0 || result.RequeueAfter > time.Minute {
			t.Errorf("after 59 minutes %v present it; it looks again after %s", serversOf(pods, pair), result.RequeueAfter)
		}
		h.pass(time.Minute)
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("after an hour %v present it", got)
		}
	})
}

func TestWalkTheConditionSaysPresentedWhenThePodsPresentIt(t *testing.T) {
	for _, s := range wanted.Slots() {
		t.Run(string(s.Role), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods := hippos(t)
				h.bring(s, company(t, "Company CA"))
				h.change(naming(s, brought))
				h.onTheWay(pods)
				h.follow()
				for range 40 {
					asked := h.podActions(pods)
					c := h.conditionOf(s.Condition)
					if len(asked) == 0 && len(h.writes) == 0 {
						break
					}
					if len(asked) > 0 && c.Status == metav1.ConditionTrue {
						t.Errorf("%v are asked to present it, and the condition says %s", asked, c.Reason)
					}
					for _, name := range asked {
						pods[name].install()
					}
				}
				h.wants(s.Condition, metav1.ConditionTrue, "Presented")
			})
		})
	}
}

func TestWalkARenewalByTheSameIssuerWaitsForNoClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		theirs := company(t, "Company CA")
		h, pods, first := adopted(t, serverSlot, theirs)
		h.pass(time.Hour)
		second := h.bring(serverSlot, theirs)
		h.onTheWay(pods)
		if got := serversOf(pods, second); !slices.Equal(got, instancePods) || len(serversOf(pods, first)) > 0 {
			t.Errorf("the new one is presented by %v", got)
		}
		h.wants(serverSlot.Condition, metav1.ConditionTrue, "Presented")
		if presented := eventsOf(h.events(), "Presented"); len(presented) != 1 {
			t.Errorf("events = %q, want one", presented)
		}
	})
}

func TestWalkWhatIsRefusedChangesNothing(t *testing.T) {
	theirs, other := company(t, "Company CA"), company(t, "Other CA")
	cases := map[string]struct {
		how    func(h *fixture)
		reason custom.Reason
		says   string
	}{
		"the key of another": {reason: custom.KeyMismatch, says: "key tls.key", how: func(h *fixture) {
			data := filesOf(t, h.leafOf(theirs, serverSlot), theirs)
			data["tls.key"] = filesOf(t, h.leafOf(theirs, serverSlot))["tls.key"]
			h.put(brought, data)
		}},
		"another authority's": {reason: custom.UnknownAuthority, says: "tls.crt", how: func(h *fixture) {
			h.put(brought, filesOf(t, h.leafOf(other, serverSlot), theirs))
		}},
		"no names": {reason: custom.NameMissing, says: "hippo-primary.zoo.svc", how: func(h *fixture) {
			pair, err := theirs.Issue(pki.LeafRequest{CommonName: "x", DNSNames: []string{"x.example"}, Usage: pki.ServerAuth, NotBefore: h.clock(), NotAfter: h.clock().Add(1000 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			h.put(brought, filesOf(t, pair, theirs))
		}},
		"nonsense": {reason: custom.NotPEM, says: "ca.crt", how: func(h *fixture) {
			h.put(brought, map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y"), "ca.crt": []byte("z")})
		}},
		"emptied": {reason: custom.NoCertificate, says: "it is missing", how: func(h *fixture) { h.put(brought, nil) }},
		"gone":    {reason: snapshot.SourceMissing, says: "there is none in namespace zoo", how: func(h *fixture) { h.delete(h.secret(brought)) }},
		"unreadable": {reason: snapshot.SourceUnreadable, says: "Unexplained", how: func(h *fixture) {
			h.reading = func(key client.ObjectKey, _ client.Object) error {
				if key.Name == brought {
					return errors.New("the API server is away")
				}
				return nil
			}
		}},
		"the operator's own": {reason: snapshot.SourceReserved, says: "the operator writes it", how: func(h *fixture) {
			h.change(naming(serverSlot, instanceMaterial))
		}},
		"named like an authority of the cluster": {reason: snapshot.AnchorReserved, says: "CN=hippo server ca g7", how: func(h *fixture) {
			h.bring(serverSlot, company(t, "hippo server ca g7"))
		}},
		"named so in other letters": {reason: snapshot.AnchorReserved, says: "CN=Hippo Server  CA g7", how: func(h *fixture) {
			h.bring(serverSlot, company(t, "Hippo Server  CA g7"))
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods, pair := adopted(t, serverSlot, theirs)
				before := h.recorded()
				c.how(h)
				h.onTheWay(pods)
				h.wants(serverSlot.Condition, metav1.ConditionFalse, string(c.reason), c.says, "the pods keep presenting")
				told := eventsOf(h.events(), string(c.reason))
				if len(told) != 1 || !strings.HasPrefix(told[0], "Warning") {
					t.Errorf("events = %q, want one warning", told)
				}
				// All else goes on.
				h.request("monday")
				if order := h.onTheWay(pods); !slices.Equal(order, inOrder) {
					t.Errorf("renewed meanwhile: %v", order)
				}
				h.pass(time.Hour)
				h.onTheWay(pods)
				if got := serversOf(pods, pair); !slices.Equal(got, instancePods) {
					t.Errorf("the last good one is presented by %v", got)
				}
				if got := h.trusted(facts.Server, theirs); got != "all" || !slices.Equal(before, h.recorded()) {
					t.Errorf("%s of the bundles hold its authority, and recorded is %v", got, h.recorded())
				}
				if result, _ := h.reconcile(); c.reason == snapshot.SourceUnreadable && (result.RequeueAfter == 0 || result.RequeueAfter > retryMax) {
					t.Errorf("it looks again after %s", result.RequeueAfter)
				}
				if told := eventsOf(h.events(), string(c.reason)); len(told) > 0 {
					t.Errorf("told again: %q", told)
				}
			})
		})
	}
}

func TestWalkWhatIsRefusedFromTheStartLeavesTheOwnCertificate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		h.change(naming(serverSlot, brought))
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(snapshot.SourceMissing), "pgtls's own certificate is presented")
		if c := h.cluster().Status.Conditions[0]; c.Status != metav1.ConditionTrue {
			t.Errorf("everything else is well: %+v", c)
		}
		if len(h.recorded()) > 0 {
			t.Errorf("recorded: %v", h.recorded())
		}
		pair := h.bring(serverSlot, company(t, "Company CA"))
		h.onTheWay(pods)
		h.follow()
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("it came, and is presented by %v", got)
		}
	})
}

// A source may bring more anchors than the one that is needed for what is presented: clients trust these too.
func TestWalkWhatCannotBeReadTakesNoTrustAway(t *testing.T) {
	theirs, next := company(t, "Company CA"), company(t, "Company CA 2")
	cases := map[string]func(h *fixture){
		"unreadable": func(h *fixture) {
			h.reading = func(key client.ObjectKey, _ client.Object) error {
				if key.Name == brought {
					return errors.New("the API server is away")
				}
				return nil
			}
		},
		"nonsense": func(h *fixture) { h.put(brought, map[string][]byte{"tls.crt": []byte("x")}) },
		"gone":     func(h *fixture) { h.delete(h.secret(brought)) },
	}
	for name, how := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods, pair := adopted(t, serverSlot, theirs)
				h.put(brought, filesOf(t, pair, theirs, next))
				h.onTheWay(pods)
				if got := h.trusted(facts.Server, next); got != "all" {
					t.Fatalf("%s of the bundles hold the second authority", got)
				}
				before := h.secret(desired.TrustRecord(tlstest.Hippo.Name))
				how(h)
				h.onTheWay(pods)
				h.pass(48 * time.Hour)
				h.onTheWay(pods)
				if got := h.trusted(facts.Server, next); got != "all" {
					t.Errorf("%s of the bundles hold what the Secret held", got)
				}
				if after := h.secret(desired.TrustRecord(tlstest.Hippo.Name)); after.ResourceVersion != before.ResourceVersion {
					t.Errorf("the record was written: %v", tlstest.SortedKeys(after.Data))
				}
				h.reading = nil
				h.put(brought, filesOf(t, pair, theirs))
				h.onTheWay(pods)
				if got := h.trusted(facts.Server, next); got != "none" {
					t.Errorf("it is known to be wanted no longer, and %s of the bundles hold it", got)
				}
			})
		})
	}
}

func TestANewInstancePresentsTheLastGoodOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods, pair := adopted(t, serverSlot, company(t, "Company CA"))
		h.put(brought, map[string][]byte{"tls.crt": []byte("x")})
		h.onTheWay(pods)
		h.change(func(c *v1beta1.PostgresCluster) { c.Spec.Instances[0].Replicas = ptr.To(int32(4)) })
		h.reconcile()
		if !h.served("hippo-a-3-tls", serverSlot, pair) {
			t.Error("the new instance does not present what the others do")
		}
		pods["hippo-a-3-0"] = h.aPod("hippo-a-3-0", "hippo-a-3-tls", desired.InstanceComponent, "replica")
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 4 {
			t.Errorf("it is presented by %v", got)
		}
	})
}

func TestAClusterIsBornWithItsCustomCertificates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newFixture(t)
		theirs := company(t, "Company CA")
		pair := h.bring(serverSlot, theirs)
		h.change(naming(serverSlot, brought))
		h.change(naming(poolerSlot, brought))
		h.reconcile()
		for _, party := range []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-pgbouncer-tls"} {
			if !h.served(party, serverSlot, pair) {
				t.Errorf("%s presents something else: no client knows the cluster yet, and none is waited for", party)
			}
		}
		if got := h.trusted(facts.Server, theirs); got != "all" {
			t.Errorf("%s of the bundles hold the authority", got)
		}
		if _, writes := h.reconcile(); len(writes) > 0 {
			t.Errorf("then there were writes: %v", writes)
		}
	})
}

// A pooler that is added to a cluster is new, and those that verify it are not.
func TestAPoolerIsBornIntoARunningClusterWithItsCustomCertificate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newFixture(t)
		h.change(func(c *v1beta1.PostgresCluster) { c.Spec.Proxy = nil })
		h.reconcile()
		pods := map[string]*simPod{
			"hippo-a-0-0": h.aPod("hippo-a-0-0", "hippo-a-0-tls", desired.InstanceComponent, "primary"),
			"hippo-a-1-0": h.aPod("hippo-a-1-0", "hippo-a-1-tls", desired.InstanceComponent, "replica"),
		}
		h.quiet()
		pair := h.bring(poolerSlot, company(t, "Company CA"))
		h.change(func(c *v1beta1.PostgresCluster) { c.Spec.Proxy = tlstest.ACluster().Spec.Proxy })
		h.change(naming(poolerSlot, brought))
		h.onTheWay(pods)
		pods["hippo-pgbouncer-x"] = h.aPod("hippo-pgbouncer-x", "hippo-pgbouncer-tls", desired.PoolerComponent, "")
		h.follow()
		h.onTheWay(pods)
		if got := serversOf(pods, pair); !slices.Equal(got, []string{"hippo-pgbouncer-x"}) {
			t.Errorf("it is presented by %v", got)
		}
		h.wants(poolerSlot.Condition, metav1.ConditionTrue, "Presented")
	})
}

func TestWalkWhatThePoolerAndTheReplicasPresentIsBroughtToo(t *testing.T) {
	for _, s := range []wanted.Slot{poolerSlot, replicationSlot} {
		t.Run(string(s.Role), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				theirs := company(t, "Company CA")
				h, _, pair := adopted(t, s, theirs)
				for _, name := range []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-a-2-tls", "hippo-pgbouncer-tls"} {
					if concerned := (name == "hippo-pgbouncer-tls") == (s.Kind == party.Pooler); concerned != h.served(name, s, pair) {
						t.Errorf("%s presents it: %v", name, !concerned)
					}
				}
				if got := h.trusted(s.Domain, theirs); got != "all" {
					t.Errorf("%s of the bundles hold its authority", got)
				}
			})
		})
	}
}

func TestWalkWithoutItTheOwnLeafComesBackAndTheTrustEnds(t *testing.T) {
	for _, s := range wanted.Slots() {
		t.Run(string(s.Role), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				theirs := company(t, "Company CA")
				h, pods, pair := adopted(t, s, theirs)
				h.change(func(c *v1beta1.PostgresCluster) { soaking("1h")(c) })
				h.change(naming(s, ""))
				h.onTheWay(pods)
				if got := serversOf(pods, pair); len(got) > 0 {
					t.Errorf("it is presented by %v", got)
				}
				if !h.ownServed("hippo-a-0-tls", s) || !h.ownServed("hippo-pgbouncer-tls", s) {
					t.Error("the own leaf is not what is presented")
				}
				if c := h.conditionOf(s.Condition); c.Type != "" {
					t.Errorf("the condition stays: %+v", c)
				}
				if got := h.trusted(s.Domain, theirs); got != "all" {
					t.Errorf("it soaks, and %s of the bundles hold the authority", got)
				}
				if keys := h.recorded(); len(keys) != 3 || !strings.HasSuffix(keys[2], material.UnusedSuffix) {
					t.Errorf("recorded: %v", keys)
				}
				result, _ := h.reconcile()
				if result.RequeueAfter == 0 || result.RequeueAfter > time.Hour {
					t.Errorf("it looks again after %s", result.RequeueAfter)
				}
				h.pass(time.Hour)
				h.onTheWay(pods)
				if got := h.trusted(s.Domain, theirs); got != "none" || len(h.recorded()) > 0 {
					t.Errorf("the soak is over: %s of the bundles hold the authority, recorded is %v", got, h.recorded())
				}
				told := h.events()
				for _, code := range []string{"AnchorUnused", "AnchorDropped"} {
					if len(eventsOf(told, string(code))) != 1 {
						t.Errorf("events of %s: %q", code, eventsOf(told, string(code)))
					}
				}
			})
		})
	}
}

func TestWalkAnotherCompanyTakesTheirPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		first, second := company(t, "Company CA"), company(t, "Other CA")
		h, pods, _ := adopted(t, serverSlot, first)
		pair := h.bring(serverSlot, second)
		h.onTheWay(pods)
		if h.trusted(facts.Server, first) != "all" || h.trusted(facts.Server, second) != "all" || len(serversOf(pods, pair)) > 0 {
			t.Error("both are to be trusted before anything changes")
		}
		h.follow()
		h.onTheWay(pods)
		if got := serversOf(pods, pair); !slices.Equal(got, instancePods) {
			t.Errorf("it is presented by %v", got)
		}
		if h.trusted(facts.Server, first) != "none" || h.trusted(facts.Server, second) != "all" {
			t.Error("there is no soak, and the first is still trusted")
		}
	})
}

func TestWalkWhatIsDamagedByHandIsMadeGood(t *testing.T) {
	files := []string{agentapi.ServedCertificate, agentapi.ServedKey, agentapi.PresentedCertificate, agentapi.PresentedKey}
	damages := map[string]func(h *fixture, s *corev1.Secret, key string){
		"gone":     func(_ *fixture, s *corev1.Secret, key string) { delete(s.Data, key) },
		"nonsense": func(_ *fixture, s *corev1.Secret, key string) { s.Data[key] = []byte("nonsense") },
		"another's": func(h *fixture, s *corev1.Secret, key string) {
			s.Data[key] = h.secret("hippo-a-1-tls").Data[map[string]string{
				agentapi.ServedCertificate: agentapi.ServerCertificate, agentapi.ServedKey: agentapi.ServerKey,
				agentapi.PresentedCertificate: agentapi.ClientCertificate, agentapi.PresentedKey: agentapi.ClientKey,
			}[key]]
		},
	}
	bubble(t, func(t *testing.T) {
		h, pods, pair := adopted(t, serverSlot, company(t, "Company CA"))
		before := h.secret(instanceMaterial).Data
		for name, damage := range damages {
			for _, key := range files {
				h.damage(instanceMaterial, func(s *corev1.Secret) { damage(h, s, key) })
				h.onTheWay(pods)
				after := h.secret(instanceMaterial).Data
				for k := range before {
					if !bytes.Equal(before[k], after[k]) {
						t.Errorf("%s %s: %s is another than before", key, name, k)
					}
				}
				if got := serversOf(pods, pair); len(got) != 3 {
					t.Errorf("%s %s: it is presented by %v", key, name, got)
				}
			}
		}
	})
}

func TestWalkAPersonSaysWhenANewIssuersIsPresented(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		theirs := company(t, "Company CA")
		pair := h.bring(serverSlot, theirs)
		h.change(adoption(v1beta1.AdoptManual))
		h.change(naming(serverSlot, brought))
		h.onTheWay(pods)
		h.pass(24 * time.Hour)
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) > 0 {
			t.Errorf("the user has not said so, and it is presented by %v", got)
		}
		content := material.ContentOf(pair)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(reason.AwaitingApproval), content)
		if c := h.cluster().Status.Conditions[0]; c.Status != metav1.ConditionTrue {
			t.Errorf("to wait for a person is no trouble: %+v", c)
		}
		if told := eventsOf(h.events(), string(reason.AwaitingApproval)); len(told) == 0 {
			t.Error("no event reports it")
		}
		h.annotate(material.AdoptApprovedAnnotation, "another")
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(reason.AwaitingApproval))
		h.annotate(material.AdoptApprovedAnnotation, "another, "+content)
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("it was approved, and is presented by %v", got)
		}
		h.wants(serverSlot.Condition, metav1.ConditionTrue, "Presented")
		renewed := h.bring(serverSlot, theirs)
		h.onTheWay(pods)
		if got := serversOf(pods, renewed); len(got) != 3 {
			t.Errorf("a renewal needs no approval, and is presented by %v", got)
		}
	})
}

func TestWalkEachSlotWaitsForItsOwnApproval(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		theirs := company(t, "Company CA")
		server, client := h.leafOf(theirs, serverSlot), h.leafOf(theirs, replicationSlot)
		h.put(brought, filesOf(t, server, theirs))
		h.put("replicas", filesOf(t, client, theirs))
		h.change(adoption(v1beta1.AdoptManual))
		h.change(naming(serverSlot, brought))
		h.change(naming(replicationSlot, "replicas"))
		h.annotate(material.AdoptApprovedAnnotation, material.ContentOf(server))
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, "Adopting")
		h.wants(replicationSlot.Condition, metav1.ConditionFalse, string(reason.AwaitingApproval), material.ContentOf(client))
		h.follow()
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionTrue, "Presented")
		h.wants(replicationSlot.Condition, metav1.ConditionFalse, string(reason.AwaitingApproval))
	})
}

func TestImmediateWaitsForNoClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		pair := h.bring(serverSlot, company(t, "Company CA"))
		h.change(adoption(v1beta1.AdoptImmediate))
		h.change(naming(serverSlot, brought))
		for range 10 {
			for _, name := range h.podActions(pods) {
				pods[name].install()
			}
		}
		h.reconcile()
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("without any time passing it is presented by %v", got)
		}
		h.wants(serverSlot.Condition, metav1.ConditionTrue, "Presented")
	})
}

func TestWalkItemsSayWhichKeysAreMeant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		theirs := company(t, "Company CA")
		pair := h.leafOf(theirs, serverSlot)
		files := filesOf(t, pair, theirs)
		h.put(brought, map[string][]byte{"db.crt": files["tls.crt"], "db.key": files["tls.key"], "root.pem": files["ca.crt"], "tls.crt": []byte("old")})
		items := []corev1.KeyToPath{{Key: "db.crt", Path: "tls.crt"}, {Key: "db.key", Path: "tls.key"}, {Key: "root.pem", Path: "ca.crt"}}
		h.change(naming(serverSlot, brought, items...))
		h.onTheWay(pods)
		h.follow()
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("it is presented by %v", got)
		}
		h.change(naming(serverSlot, brought, items[:2]...))
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("without its authority it is presented by %v", got)
		}
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(custom.UnknownAuthority), "db.crt")
	})
}

func TestWalkAPublicAuthorityIsTrustedOnlyWhereTheSpecSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		public, unused := company(t, "Public Root"), company(t, "Another Public Root")
		h.r.gatherer.SystemRoots = func() []*x509.Certificate { return []*x509.Certificate{public.Certificate, unused.Certificate} }
		pair := h.leafOf(public, serverSlot)
		h.put(brought, filesOf(t, pair))
		h.change(naming(serverSlot, brought))
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(custom.UnknownAuthority))
		h.change(func(c *v1beta1.PostgresCluster) {
			c.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{SystemRoots: true}}
		})
		h.onTheWay(pods)
		h.follow()
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("it is presented by %v", got)
		}
		if h.trusted(facts.Server, public) != "all" || h.trusted(facts.Server, unused) != "none" {
			t.Error("the one that it leads to is to be trusted, and no other")
		}
	})
}

// The end of what is presented is no outage for a client that follows the ConfigMap.
func TestWalkNearItsEndTheOwnLeafTakesItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		theirs := company(t, "Company CA")
		h, pods, _ := adopted(t, serverSlot, theirs)
		pair, err := theirs.Issue(pki.LeafRequest{CommonName: "x", DNSNames: hostsOfHippo, Usage: pki.ServerAuth, NotBefore: h.clock(), NotAfter: h.clock().Add(6 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		h.put(brought, filesOf(t, pair, theirs))
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("it is presented by %v", got)
		}
		result, _ := h.reconcile()
		passed := time.Duration(0)
		for want := 6*time.Hour - 10*time.Minute; passed+result.RequeueAfter != want; result, _ = h.reconcile() { // handshakes in between
			if passed += result.RequeueAfter; passed > want || result.RequeueAfter == 0 {
				t.Fatalf("it does not look again after %s", want)
			}
			h.pass(result.RequeueAfter)
		}
		h.pass(6*time.Hour - 9*time.Minute - passed)
		for range 5 { // it is urgent, so that pods may be asked at once
			for _, name := range h.podActions(pods) {
				pods[name].install()
			}
			h.everybodyIsAccepted(pods)
		}
		if got := serversOf(pods, pair); len(got) > 0 {
			t.Errorf("nine minutes before its end it is presented by %v", got)
		}
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(reason.CustomEnded), "pgtls's own certificate is presented")
		h.pass(10 * time.Minute)
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(custom.Expired), "pgtls's own certificate is presented")
	})
}
