package harness

import (
	"strings"
	"testing"
)

const auditLines = `{"kind":"Event","stage":"ResponseComplete","verb":"patch","user":{"username":"system:serviceaccount:pgtls-system:pgtls-operator"},"objectRef":{"resource":"postgresclusters","subresource":"status","namespace":"demo","name":"hippo"},"requestReceivedTimestamp":"2026-05-01T10:00:00.000000Z"}
{"kind":"Event","stage":"ResponseComplete","verb":"get","user":{"username":"system:serviceaccount:pgtls-system:pgtls-operator"},"objectRef":{"resource":"secrets","namespace":"demo","name":"hippo"},"requestReceivedTimestamp":"2026-05-01T10:00:01.000000Z"}
{"kind":"Event","stage":"ResponseStarted","verb":"create","user":{"username":"system:serviceaccount:pgtls-system:pgtls-operator"},"objectRef":{"resource":"pods"},"requestReceivedTimestamp":"2026-05-01T10:00:02.000000Z"}
{"kind":"Event","stage":"ResponseComplete","verb":"update","user":{"username":"system:node:node-1"},"objectRef":{"resource":"leases","name":"node-1"},"requestReceivedTimestamp":"2026-05-01T10:00:03.000000Z"}
{"kind":"Event","stage":"Respo`

func TestParseAuditFindsWritesOfOneUser(t *testing.T) {
	writes, err := parseAudit(strings.NewReader(auditLines), func(w Write) bool { return strings.Contains(w.User, "pgtls-operator") })
	if err != nil {
		t.Fatal(err)
	}
	if len(writes) != 1 || writes[0].Resource != "postgresclusters/status" || writes[0].Verb != "patch" {
		t.Errorf("writes = %v, want the one patch of the status", writes)
	}
}

func TestParseAuditRefusesWhatIsNoEvent(t *testing.T) {
	if _, err := parseAudit(strings.NewReader("garbage\n"), func(Write) bool { return true }); err == nil {
		t.Error("no error for a line that is no event: a log that cannot be read would count as no writes")
	}
}
