package agent

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

func TestOnlyAChangeIsNews(t *testing.T) {
	r := newReports("pod", party.Pooler.Name, nothingRefused)
	first, _ := r.get()
	if r.publish(agentapi.Report{}) {
		t.Error("an equal report is news")
	}
	if !r.publish(agentapi.Report{Asked: "a", Boot: "forged", Sequence: 99, Pod: "other"}) {
		t.Error("a change is no news")
	}
	got, _ := r.get()
	if got.Sequence != first.Sequence+1 || got.Boot != first.Boot || got.Pod != "pod" || got.Kind != party.Pooler.Name || got.Asked != "a" {
		t.Errorf("report is %+v", got)
	}
	for _, next := range []agentapi.Report{
		{Asked: "a", Problem: &agentapi.Problem{Reason: agentapi.ReloadFailed}},
		{Asked: "a", Served: []agentapi.Served{{Port: "postgres"}}},
		{Asked: "a", Served: []agentapi.Served{{Port: "postgres", Serial: "1"}}},
		{Asked: "a", ServerLeaf: &agentapi.Leaf{Serial: "1"}},
	} {
		if !r.publish(next) || r.publish(next) {
			t.Errorf("%+v is no news, or news twice", next)
		}
	}
}

func TestTwoBootsDiffer(t *testing.T) {
	a, _ := newReports("pod", party.Pooler.Name, nothingRefused).get()
	b, _ := newReports("pod", party.Pooler.Name, nothingRefused).get()
	if a.Boot == b.Boot || a.Boot == "" {
		t.Errorf("boots are %q and %q", a.Boot, b.Boot)
	}
}

func TestAfterWaitsAsLongAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReports("pod", party.Pooler.Name, nothingRefused)
		now, _ := r.get()
		start := time.Now()
		if _, news := r.after(t.Context(), now.Boot, now.Sequence, 7*time.Second); news || time.Since(start) != 7*time.Second {
			t.Errorf("news %v after %v", news, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start = time.Now()
		if _, news := r.after(ctx, now.Boot, now.Sequence, time.Minute); news || time.Since(start) != time.Second {
			t.Errorf("news %v after %v", news, time.Since(start))
		}
		time.AfterFunc(3*time.Second, func() { r.publish(agentapi.Report{Asked: "x"}) })
		start = time.Now()
		if got, news := r.after(t.Context(), now.Boot, now.Sequence, time.Minute); !news || got.Asked != "x" || time.Since(start) != 3*time.Second {
			t.Errorf("%+v after %v", got, time.Since(start))
		}
	})
}

// A reader that follows by sequence sees the last report, and the sequence only ever grows.
func TestFollowersMissNothing(t *testing.T) {
	r := newReports("pod", party.Instance.Name, nothingRefused)
	const last = "end"
	var followers sync.WaitGroup
	for range 4 {
		followers.Go(func() {
			seen, _ := r.get()
			for seen.Asked != last {
				next, news := r.after(t.Context(), seen.Boot, seen.Sequence, time.Minute)
				if !news || next.Sequence <= seen.Sequence {
					t.Errorf("after %d came %d, news %v", seen.Sequence, next.Sequence, news)
					return
				}
				seen = next
			}
		})
	}
	for n := range 1000 {
		r.publish(agentapi.Report{Asked: string(rune('a' + n%2))})
	}
	r.publish(agentapi.Report{Asked: last})
	followers.Wait()
}

func nothingRefused() []agentapi.Refused { return nil }
