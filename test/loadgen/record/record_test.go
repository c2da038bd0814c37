package record

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSumAddsEveryTargetAndClient(t *testing.T) {
	counts := Counts{
		"primary pgx":       {Tried: 100, Failed: 1},
		"primary psql":      {Tried: 7},
		"pgbouncer pgbench": {Tried: 50, Failed: 2},
	}
	if diff := cmp.Diff(Count{Tried: 157, Failed: 3}, counts.Sum()); diff != "" {
		t.Errorf("sum (-want +got):\n%s", diff)
	}
}

func TestEachReadsLinesUntilTheEnd(t *testing.T) {
	in := `{"kind":"started","sessions":4}` + "\n" + `{"kind":"totals","counts":{"primary pgx":{"tried":3,"failed":0}},"final":true}` + "\n"
	var kinds []Kind
	var last Line
	if err := Each(strings.NewReader(in), func(l Line) { kinds, last = append(kinds, l.Kind), l }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Kind{Started, Totals}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if !last.Final || last.Counts.Sum().Tried != 3 {
		t.Errorf("last line = %+v", last)
	}
}

func TestEachQuotesWhatIsNoLine(t *testing.T) {
	err := Each(strings.NewReader("Error from server: container not found\n"), func(Line) {})
	if err == nil || !strings.Contains(err.Error(), "container not found") {
		t.Errorf("error = %v, want one that quotes the line", err)
	}
}
