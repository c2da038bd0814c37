package harness

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWorkingSetsOfAContainerInANamespace(t *testing.T) {
	const summary = `{"node":{"nodeName":"n"},"pods":[
		{"podRef":{"name":"hippo-0","namespace":"zoo"},"containers":[
			{"name":"agent","memory":{"workingSetBytes":1000,"rssBytes":700}},
			{"name":"database","memory":{"workingSetBytes":9000}}]},
		{"podRef":{"name":"hippo-1","namespace":"zoo"},"containers":[{"name":"agent","memory":{"workingSetBytes":2000}}]},
		{"podRef":{"name":"rhino-0","namespace":"park"},"containers":[{"name":"agent","memory":{"workingSetBytes":3000}}]}]}`
	got := map[string]uint64{}
	if err := addWorkingSets(got, []byte(summary), "zoo", "agent"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]uint64{"hippo-0": 1000, "hippo-1": 2000}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := addWorkingSets(got, []byte("not found"), "zoo", "agent"); err == nil {
		t.Error("what is no summary was taken for one")
	}
}
