package wanted

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func TestAnnotationsAreReadStrictly(t *testing.T) {
	for _, c := range []struct {
		annotation, value string
		want              string // how the one that is invalid is called; "" when all is well
	}{
		{"pgtls.dev/renew-requested-at", "monday, or so", ""},
		{"pgtls.dev/rotate-authority-requested-at", "server:2031-04", ""},
		{"pgtls.dev/rotate-authority-requested-at", "server:1, client:7", ""},
		{"pgtls.dev/rotate-authority-requested-at", "", ""},
		{"pgtls.dev/rotate-authority-requested-at", "2026-11-27", `"2026-11-27" names no trust domain`},
		{"pgtls.dev/rotate-authority-requested-at", "server:", `"server:" has no id`},
		{"pgtls.dev/rotate-authority-requested-at", "server:1,server:2", `"server:2" is the second id`},
		{"pgtls.dev/rotate-authority-requested-at", "Server:1", `"Server:1" names no trust domain`},
		{"pgtls.dev/rollback-requested-at", "x", `"x" names no trust domain`},
		{"pgtls.dev/taint", "server-g1", ""},
		{"pgtls.dev/taint", "server-g1,client-g2", ""},
		{"pgtls.dev/taint", "g1", `"g1" names no generation`},
		{"pgtls.dev/taint", "server_g1", `"server_g1" names no generation`},
		{"pgtls.dev/taint", "server-g01", `"server-g01" names no generation`},
		{"pgtls.dev/taint", "server-g1,server-g2", `"server-g2" is the second generation`},
		{"pgtls.dev/retire-approved", "server-g1", ""},
		{"pgtls.dev/retire-approved", "server-g1,client-0123456789ab", ""},
		{"pgtls.dev/retire-approved", "server:g1", `"server:g1" names no generation`},
		{"pgtls.dev/retire-approved", "client-0123456789a", `"client-0123456789a" names no generation`},
		{"pgtls.dev/adopt-approved", "0123456789ab, ba9876543210", ""},
		{"pgtls.dev/adopt-approved", "0123456789AB", `"0123456789AB" is no content`},
		{"pgtls.dev/tainted", "server-g1", `"server-g1" is the value of an annotation that the operator does not know`},
		{"example.org/taint", "g1", ""},
	} {
		cluster := tlstest.ACluster()
		cluster.Annotations = map[string]string{c.annotation: c.value}
		invalid := RequestsOf(cluster).Invalid
		switch {
		case c.want == "" && len(invalid) > 0:
			t.Errorf("%s=%s: %v", c.annotation, c.value, invalid)
		case c.want != "" && (len(invalid) != 1 || !strings.HasPrefix(invalid[0].String(), "annotation "+c.annotation+": "+c.want) || !strings.Contains(invalid[0].String(), ": write ")):
			t.Errorf("%s=%s: %v, want %s", c.annotation, c.value, invalid, c.want)
		}
	}
}

func TestWhatAnnotationsAskFor(t *testing.T) {
	cluster := tlstest.ACluster()
	cluster.Annotations = map[string]string{
		"pgtls.dev/rotate-authority-requested-at": "server:1,client:7", "pgtls.dev/rollback-requested-at": "client:8", "pgtls.dev/taint": "client-g3",
		"pgtls.dev/retire-approved": "server-g1,client-0123456789ab", "pgtls.dev/adopt-approved": "0123456789ab",
	}
	want := Requests{
		Rotate: map[facts.Domain]string{"server": "1", "client": "7"}, Rollback: map[facts.Domain]string{"client": "8"},
		Tainted: map[facts.Domain]int{"client": 3}, Retire: map[facts.Domain]int{"server": 1},
		Anchors: []string{"client-0123456789ab"}, Adopt: []string{"0123456789ab"},
	}
	requests := RequestsOf(cluster)
	if diff := cmp.Diff(want, requests); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	unknown := requests.Unknown(map[facts.Domain]int{facts.Server: 1, facts.Client: 2})
	if len(unknown) != 1 || !strings.Contains(unknown[0].String(), `pgtls.dev/taint: "client-g3" names a generation that does not exist: write one up to client-g2`) {
		t.Errorf("unknown = %v", unknown)
	}
}
