package custom_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/corpus"
)

// epoch is the "now" of every test.
var epoch = time.Date(2030, time.March, 4, 5, 6, 7, 0, time.UTC)

// cases are made once: keys of RSA take a while.
var cases = sync.OnceValue(func() []corpus.Case {
	return corpus.Cases(epoch, corpus.Names{
		Instance: []string{"hippo-primary.postgres.svc", "hippo-replicas.postgres.svc"},
		Pooler:   []string{"hippo-pgbouncer.postgres.svc", "hippo-pooler.postgres.svc"},
	})
})

func byName(name string) corpus.Case {
	all := cases()
	at := slices.IndexFunc(all, func(c corpus.Case) bool { return c.Name == name })
	if at < 0 {
		panic("no case is called " + name)
	}
	return all[at]
}

// TestCorpus has the checker say about each case what the case wants. What the real programs say is for "make corpus".
func TestCorpus(t *testing.T) {
	names := map[string]bool{}
	var wrong, right int
	for _, c := range cases() {
		if names[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		names[c.Name] = true
		if c.Want == "" {
			right++
		} else if c.Strict == "" {
			wrong++
		}
		t.Run(c.Name, func(t *testing.T) {
			certificate, findings := custom.Check(c.Input)
			checkFindings(t, c.Input.Source, certificate != nil, findings)
			if c.Want == "" {
				wantAccepted(t, c, certificate, findings)
			} else {
				wantRefused(t, c, findings)
			}
		})
	}
	if wrong < 60 || right < 25 {
		t.Errorf("%d wrong and %d right cases", wrong, right)
	}
}

func wantAccepted(t *testing.T, c corpus.Case, certificate *custom.Certificate, findings []custom.Finding) {
	t.Helper()
	if certificate == nil {
		t.Fatalf("a right case is refused: %v", findings)
	}
	var warns []custom.Reason
	for _, f := range findings {
		warns = append(warns, f.Reason)
	}
	slices.Sort(warns)
	if diff := cmp.Diff(c.Warns, slices.Compact(warns)); diff != "" {
		t.Errorf("warned (+), wanted (-):\n%s%v", diff, findings)
	}
	for _, issuer := range certificate.Pair.Chain[1:] {
		if issuer.CheckSignatureFrom(issuer) == nil {
			t.Errorf("anchor %s is presented", issuer.Subject)
		}
	}
	usage := pki.ServerAuth
	if c.Input.Role == custom.Replication {
		usage = pki.ClientAuth
	}
	for _, name := range append(slices.Clone(c.Input.Names), "") {
		if pki.CommonNameCovers(certificate.Pair.Leaf(), name) {
			continue
		}
		request := pki.VerifyRequest{Chain: certificate.Pair.Chain, Anchors: certificate.Anchors, At: epoch, Usage: usage, DNSName: name}
		strict := pki.Verify(request) != nil
		if warned := slices.Contains(c.Warns, custom.StrictVerifiersRefuse); strict != warned {
			t.Errorf("strict verifiers refuse it: %v; warned: %v", strict, warned)
		}
		request.Lenient = true
		if err := pki.Verify(request); err != nil {
			t.Errorf("accepted, and does not verify for %q: %v", name, err)
		}
	}
}

// wantRefused: the reason is there, and it is the first refusal, which is what a status shows.
func wantRefused(t *testing.T, c corpus.Case, findings []custom.Finding) {
	t.Helper()
	for _, f := range findings {
		if f.Severity == custom.Refuse {
			if f.Reason != c.Want {
				t.Errorf("the first refusal is %s, want %s: %v", f.Reason, c.Want, findings)
			}
			return
		}
	}
	t.Errorf("a wrong case is accepted: %v", findings)
}

// checkFindings is what holds for any input.
func checkFindings(t *testing.T, source string, accepted bool, findings []custom.Finding) {
	t.Helper()
	refused := false
	for _, f := range findings {
		refused = refused || f.Severity == custom.Refuse
		if !slices.Contains(custom.Reasons(), f.Reason) {
			t.Errorf("reason %q is in no list", f.Reason)
		}
		if f.Severity != custom.Refuse && f.Severity != custom.Warn {
			t.Errorf("severity %q", f.Severity)
		}
		if strings.ContainsAny(f.Message, "\n\r") || !strings.HasPrefix(f.Message, source+": ") {
			t.Errorf("message %q", f.Message)
		}
	}
	if refused == accepted {
		t.Errorf("refused %v, and there is a certificate: %v: %v", refused, accepted, findings)
	}
}
