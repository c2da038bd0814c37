package rotation

import (
	"slices"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// undelivered is an observation in which a pod was asked and its kubelet has not
// delivered; it may be told to look again at a time.
func undelivered(nudgeAt time.Time) (*world, facts.Observed) {
	w := given(published("db-1"), asked("db-1-0"), slow("db-1-0"))
	o := w.observe()
	for i := range o.Parties {
		for j := range o.Parties[i].Pods {
			if pod := &o.Parties[i].Pods[j]; pod.Name == "db-1-0" {
				pod.RetriggerAt, pod.Report.Mounted = nudgeAt, "what was there before"
			}
		}
	}
	return w, o
}

func TestAKubeletThatLookedTooEarlyIsToldToLookAgain(t *testing.T) {
	for name, c := range map[string]struct {
		at   func(now time.Time) time.Time
		want string
	}{
		"when its time has come":  {func(now time.Time) time.Time { return now }, "Retrigger"},
		"when it is over":         {func(now time.Time) time.Time { return now.Add(-time.Hour) }, "Retrigger"},
		"not before":              {func(now time.Time) time.Time { return now.Add(time.Second) }, ""},
		"not when no time is set": {func(time.Time) time.Time { return time.Time{} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := settledWorld()
			_, o := undelivered(c.at(w.now))
			planned, err := Next(w.policy, o)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, s := range planned.Steps() {
				if podOf(s) == "db-1-0" {
					got = s.Op()
				}
			}
			if got != c.want {
				t.Errorf("steps %v, want %q for db-1-0", planned.Steps(), c.want)
			}
			if c.want == "" && message(planned, "db-1-0") == "" {
				t.Error("the rotation waits for db-1-0 and does not say so")
			}
		})
	}
}

func TestItIsLookedAgainWhenTheKubeletMayBeTold(t *testing.T) {
	w := settledWorld()
	at := w.now.Add(700 * time.Millisecond)
	_, o := undelivered(at)
	planned, err := Next(w.policy, o)
	if err != nil || !planned.Wake.Equal(at) {
		t.Errorf("Wake = %v, %v; want %v", planned.Wake, err, at)
	}
}

func TestOnlyAKubeletThatHasDeliveredBothIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct{ files, request, nudged bool }{
		"the files and the request": {true, true, false},
		"the files alone":           {true, false, true},
		"the request alone":         {false, true, true},
		"neither":                   {false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := undelivered(settledWorld().now)
			for i := range o.Parties {
				for j := range o.Parties[i].Pods {
					pod, revision := &o.Parties[i].Pods[j], o.Parties[i].Material.Revision
					if pod.Name == "db-1-0" && c.files {
						pod.Report.Mounted = revision
					}
					if pod.Name == "db-1-0" && c.request {
						pod.Report.Asked = revision
					}
				}
			}
			planned, err := Next(w.policy, o)
			if err != nil {
				t.Fatal(err)
			}
			if nudged := len(planned.Steps()) == 1 && has[plan.Retrigger](planned); nudged != c.nudged || !nudged && message(planned, "db-1-0") == "" {
				t.Errorf("plan %+v, want a nudge: %v", planned, c.nudged)
			}
		})
	}
}

func TestMaterialOfNoPartyIsDiscarded(t *testing.T) {
	w := settledWorld()
	o := w.observe()
	o.Unwanted = []string{"db-7", "db-8"}
	planned, err := Next(w.policy, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Step{plan.Discard{Party: "db-7", Reason: reason.Unwanted}, plan.Discard{Party: "db-8", Reason: reason.Unwanted}}
	if !slices.EqualFunc(planned.Steps(), want, func(a, b plan.Step) bool { return a.String() == b.String() }) {
		t.Errorf("steps %v, want %v", planned.Steps(), want)
	}
	for _, step := range planned.Steps() {
		if v := invariant.Check(&o, step); v != nil {
			t.Errorf("%s: %v", step, v)
		}
	}
}

// What is published again may have been replaced in between, and the pod asked to use that. As long as its kubelet holds it,
// the agent may take it.
func TestAPodThatMayTakeWhatIsPublishedNoMoreIsNotSettled(t *testing.T) {
	for name, c := range map[string]struct {
		asked func(published string) string
		nudge func(now time.Time) time.Time
		want  string
	}{
		"asked for the other one: asked again":            {func(string) string { return "another" }, func(time.Time) time.Time { return time.Time{} }, "Activate"},
		"never asked: asked":                              {func(string) string { return "" }, func(time.Time) time.Time { return time.Time{} }, "Activate"},
		"asked again, and not delivered: told to look":    {func(r string) string { return r }, func(now time.Time) time.Time { return now }, "Retrigger"},
		"asked again, and not delivered: waited for":      {func(r string) string { return r }, func(time.Time) time.Time { return time.Time{} }, ""},
		"asked again, and told to look: waited for still": {func(r string) string { return r }, func(now time.Time) time.Time { return now.Add(time.Second) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := given()
			o := w.observe()
			p := o.Party("db-1")
			pod := &p.Pods[0]
			pod.Asked, pod.RetriggerAt, pod.Report.Mounted = c.asked(p.Material.Revision), c.nudge(w.now), "another"
			planned, err := Next(w.policy, o)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, s := range planned.Steps() {
				got = s.Op()
				mustPass(t, o, s)
			}
			if got != c.want || len(planned.Steps()) > 1 {
				t.Errorf("steps %v, want %q", planned.Steps(), c.want)
			}
			if c.want == "" && message(planned, "db-1-0") == "" {
				t.Error("the rotation waits for db-1-0 and does not say so")
			}
		})
	}
}
