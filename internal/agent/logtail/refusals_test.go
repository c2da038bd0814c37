package logtail

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/agentapi"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// tellNow makes everything counted told.
func (r *refusals) tellNow() []agentapi.Refused {
	r.tell(r.toldAt.Add(refusedPause))
	return r.told()
}

func counts(told []agentapi.Refused) string {
	var text []string
	for _, entry := range told {
		text = append(text, entry.Revision+"="+strconv.FormatUint(entry.Count, 10))
	}
	return strings.Join(text, " ")
}

func TestALineCountsForWhatWasServedWhenItWasWritten(t *testing.T) {
	log := newLogFile(t)
	r := newRefusals(log.path)
	r.setReadable(true)
	log.append("0123456789")
	r.add("unknown ca", 5) // before anything was seen to be served
	r.begin("a", "k1", noon)
	r.add("unknown ca", 10)
	r.add("unknown ca", 11)
	log.append("0123456789")
	r.begin("b", "k2", noon.Add(time.Minute))
	r.add("bad certificate", 20) // read late
	r.add("unknown ca", 21)
	want := []agentapi.Refused{
		{Revision: "b", Issuer: "k2", Since: noon.Add(time.Minute), Count: 1, Last: "unknown ca"},
		{Revision: "a", Issuer: "k1", Since: noon, Until: new(noon.Add(time.Minute)), Count: 2, Last: "bad certificate"},
	}
	if diff := cmp.Diff(want, r.tellNow()); diff != "" {
		t.Error(diff)
	}

	r.restart()
	r.add("unknown ca", 1)
	if got := counts(r.tellNow()); got != "b=2 a=2" {
		t.Errorf("after the log began anew: %s", got)
	}
	for n, revision := range []string{"c", "d", "e"} {
		r.begin(revision, "k", noon.Add(time.Duration(n)*time.Hour))
	}
	if got := counts(r.told()); got != "e=0 d=0 c=0 b=2" {
		t.Errorf("told is %s", got)
	}
}

func TestWithoutALogNothingIsTold(t *testing.T) {
	r := newRefusals(newLogFile(t).path)
	r.begin("a", "k", noon)
	if told := r.told(); told != nil {
		t.Errorf("told %+v of a log that was not read", told)
	}
	if !r.setReadable(true) || r.setReadable(true) || counts(r.told()) != "a=0" {
		t.Errorf("told %+v", r.told())
	}
	if !r.setReadable(false) || r.told() != nil {
		t.Errorf("told %+v of a log that is gone", r.told())
	}
}
