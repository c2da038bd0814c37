package act

import (
	"strings"
	"testing"

	"k8s.io/client-go/tools/events"

	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestEverythingIssuedIsToldInOneEvent(t *testing.T) {
	told := events.NewFakeRecorder(10)
	x := &Executor{Events: told}
	cluster := tlstest.ACluster()
	key := client.ObjectKeyFromObject(cluster)
	x.Issued.add(key, "the %s authority g%d", "server", 1)
	x.Issued.add(key, "a leaf")
	x.TellIssued(cluster)
	x.TellIssued(cluster) // and nothing a second time
	close(told.Events)
	var got []string
	for text := range told.Events {
		got = append(got, text)
	}
	if want := "Normal Issued the server authority g1; a leaf"; len(got) != 1 || got[0] != want {
		t.Errorf("told %q, want %q", got, want)
	}
	x.Issued.add(key, "another")
	x.Issued.Forget(key)
	if x.Issued.take(key) != nil {
		t.Error("what is gone is remembered")
	}
}

func TestALongNoteCountsTheRest(t *testing.T) {
	long := strings.Repeat("x", 300)
	note := noteOf([]string{long, long, long, long, "short"})
	if len(note) > 1024 || !strings.HasSuffix(note, "; and 2 more") || !strings.HasPrefix(note, long+"; "+long+"; "+long+"; and") {
		t.Errorf("%d: %s", len(note), note)
	}
}
