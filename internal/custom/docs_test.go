package custom_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/custom"
)

var row = regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\| ([A-Z][A-Za-z, ]+) \\| [^|]+ \\| [^|]+ \\|$")

// TestEveryReasonStandsInTheDocs compares the page with the code: every reason in its order, and with the severities that
// the corpus and the other tests of this package see it with.
func TestEveryReasonStandsInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/custom-certificates-checks.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := severitiesSeen()
	var documented []custom.Reason
	for _, match := range row.FindAllStringSubmatch(string(page), -1) {
		reason := custom.Reason(match[1])
		documented = append(documented, reason)
		if diff := cmp.Diff(strings.Join(seen[reason], ", "), match[2]); diff != "" {
			t.Errorf("%s: the page (+) says another severity than what is seen (-):\n%s", reason, diff)
		}
	}
	listed, want := slices.Sorted(slices.Values(documented)), slices.Sorted(slices.Values(custom.Reasons()))
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("the page (+) has other reasons than the code (-):\n%s", diff)
	}
}

// severitiesSeen runs everything that this package has to check, and returns the severities of each reason, sorted.
func severitiesSeen() map[custom.Reason][]string {
	seen := map[custom.Reason][]string{}
	note := func(findings []custom.Finding) {
		for _, f := range findings {
			if !slices.Contains(seen[f.Reason], string(f.Severity)) {
				seen[f.Reason] = append(seen[f.Reason], string(f.Severity))
				slices.Sort(seen[f.Reason])
			}
		}
	}
	for _, c := range cases() {
		_, findings := custom.Check(c.Input)
		note(findings)
	}
	for _, b := range bundles() {
		_, findings := custom.CheckBundle("ConfigMap postgres/roots", "roots.pem", b.text, epoch)
		note(findings)
	}
	return seen
}
