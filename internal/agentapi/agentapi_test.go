package agentapi

import (
	"encoding/json"
	"path"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Operator and agents of different versions meet during an upgrade: these names are a contract.
func TestReportOnTheWire(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	report := Report{
		Pod: "hippo-a-0-0", Kind: "instance", Boot: "b", Sequence: 7, Mounted: "m", Asked: "a", Active: "c", Previous: "p", Unasked: true, ActivatedAt: &at,
		ServerLeaf: &Leaf{Serial: "1f", NotAfter: at}, ClientLeaf: &Leaf{Serial: "2f", NotAfter: at}, ServerAnchors: []string{"s"}, ClientAnchors: []string{"c"},
		Served:  []Served{{Port: "postgres", Serial: "1f", Error: "e"}},
		Problem: &Problem{Reason: StillServingOld, Message: "m"},
	}
	got, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"pod":"hippo-a-0-0","kind":"instance","boot":"b","sequence":7,"mounted":"m","asked":"a","active":"c","previous":"p","unasked":true,"activatedAt":"2026-03-01T12:00:00Z",` +
		`"serverLeaf":{"serial":"1f","notAfter":"2026-03-01T12:00:00Z"},"clientLeaf":{"serial":"2f","notAfter":"2026-03-01T12:00:00Z"},"serverAnchors":["s"],"clientAnchors":["c"],` +
		`"served":[{"port":"postgres","serial":"1f","error":"e"}],"problem":{"reason":"StillServingOld","message":"m"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	var back Report
	if err := json.Unmarshal(got, &back); err != nil || !cmp.Equal(report, back) {
		t.Errorf("%v\n%s", err, cmp.Diff(report, back))
	}
}

// What is not known is absent, never zero.
func TestUnknownIsAbsent(t *testing.T) {
	got, err := json.Marshal(Report{Pod: "p", Kind: "pooler", Boot: "b", Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"pod":"p","kind":"pooler","boot":"b","sequence":1}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPathsHangTogether(t *testing.T) {
	if path.Dir(CurrentDir) != ActiveDir || path.Dir(ActivateFile) != PodInfoDir || path.Dir(LoopbackKey) != ActiveDir || path.Dir(LoopbackCertificate) != ActiveDir {
		t.Error("a file stands outside of its volume")
	}
}
