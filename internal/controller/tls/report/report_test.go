package report

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

func aSnapshot() *snapshot.Snapshot {
	s := &snapshot.Snapshot{Cluster: tlstest.ACluster()}
	s.Observed.Now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return s
}

// The column TLS shows the state, and the condition must not say another thing.
func TestTheStateAgreesWithTheCondition(t *testing.T) {
	serving := func(s *snapshot.Snapshot) {
		s.Observed.Parties = []facts.Party{{Name: "a", Kind: party.Instance, Pods: []facts.Pod{{Name: "a-0"}}}}
	}
	blocked := plan.Plan{State: plan.Waiting, Blockers: []plan.Blocker{{Party: "a-0", Reason: reason.NotProven, Message: "no"}}}
	for name, c := range map[string]struct {
		decided plan.Plan
		change  func(*snapshot.Snapshot)
		state   string
		reason  string
	}{
		"steady":       {plan.Plan{State: plan.Steady}, serving, "Steady", "Proven"},
		"no pod":       {plan.Plan{State: plan.Steady}, func(*snapshot.Snapshot) {}, "NotServing", "NoEndpoint"},
		"renewing":     {plan.Plan{State: plan.Renewing}, serving, "Renewing", "Renewing"},
		"waiting":      {blocked, serving, "Waiting", "NotProven"},
		"twins differ": {plan.Plan{State: plan.Steady}, twinsDiffer(serving), "Waiting", "TwinDiffers"},
		"a failure":    {plan.Plan{State: plan.Steady}, fails(serving, "Secret hippo-server-ca-g1"), "Waiting", "StepFailed"},
		"of another":   {plan.Plan{State: plan.Steady}, fails(serving, "Certificate hippo-instances-cert"), "Steady", "Proven"},
	} {
		t.Run(name, func(t *testing.T) {
			s := aSnapshot()
			c.change(s)
			status := Of(s, c.decided).Status
			if got := status.Conditions[0]; status.TLS.State != c.state || got.Reason != c.reason || (got.Status == metav1.ConditionTrue) != (status.TLS.State == "Steady") {
				t.Errorf("state %s, condition %+v; want %s and %s", status.TLS.State, got, c.state, c.reason)
			}
		})
	}
}

func twinsDiffer(also func(*snapshot.Snapshot)) func(*snapshot.Snapshot) {
	return func(s *snapshot.Snapshot) {
		also(s)
		stored := &snapshot.StoredAuthority{Differ: true, Original: tlstest.Secret("x"), Twin: tlstest.Secret("x-copy")}
		s.Authorities = append(s.Authorities, stored)
	}
}

func fails(also func(*snapshot.Snapshot), object string) func(*snapshot.Snapshot) {
	return func(s *snapshot.Snapshot) {
		also(s)
		s.Observed.Failures = []facts.Failure{{Step: "RemoveFinalizer x", Object: object, Message: "no"}}
	}
}

// A cluster is called "server", and a certificate of clients ended: that is not told of the servers' one.
func TestABlockerTellsOfItsOwnDomain(t *testing.T) {
	s := aSnapshot()
	s.Cluster.Name = "server"
	s.Observed.Parties = []facts.Party{{Name: "server-a-0-tls", Kind: party.Instance}}
	ended := plan.Plan{Blockers: []plan.Blocker{{Party: "server-a-0-tls", Reason: reason.CustomEnded, Domain: facts.Client, Message: "the client certificate of server-a-0-tls ended"}}}
	for _, slot := range wanted.Slots() {
		p := &snapshot.Presented{Slot: slot, Facts: &facts.Custom{Domain: slot.Domain, Content: "c"}}
		want := reasonAdopting
		switch {
		case slot.Kind != party.Instance:
			want = "" // there is no such party
		case slot.Domain == facts.Client:
			want = string(reason.CustomEnded)
		}
		if got := waitsFor(s, p, ended); got != want {
			t.Errorf("%s: %q, want %q", slot.Condition, got, want)
		}
	}
}

func TestAnEventIsSentOncePerChange(t *testing.T) {
	s := aSnapshot()
	decided := plan.Plan{State: plan.Waiting, Blockers: []plan.Blocker{{Party: "Secret x", Reason: reason.StepFailed, Message: "Publish x: Secret x: QuotaExceeded"}}}
	first := Of(s, decided)
	if len(first.Events) != 1 || !strings.Contains(first.Events[0].Message, "QuotaExceeded") {
		t.Fatalf("events = %+v", first.Events)
	}
	s.Cluster.Status = first.Status
	if again := Of(s, decided); len(again.Events) > 0 {
		t.Errorf("again: %+v", again.Events)
	}
}
