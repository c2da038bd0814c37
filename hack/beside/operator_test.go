package beside

import (
	"strings"
	"testing"
)

func TestAValueIsReadFromTheProcessAndFromMetrics(t *testing.T) {
	for text, want := range map[string]float64{
		"VmRSS:\t 60000 kB\nRssAnon:\t   15244 kB\n":     15244,
		"# HELP RssAnon: more\nRssAnon: 1.2582912e+07\n": 12582912,
	} {
		if got, err := valueIn(strings.NewReader(text), "RssAnon:"); err != nil || got != want {
			t.Errorf("%q gives %v, %v, want %v", text, got, err, want)
		}
	}
	if _, err := valueIn(strings.NewReader("VmRSS: 1 kB\n"), "RssAnon:"); err == nil {
		t.Error("a value that is not there is no error")
	}
}

func TestAMedianIsNotMovedByOneOutlier(t *testing.T) {
	if got := median([]int64{3, 900, 1, 2, 2}); got != 2 {
		t.Errorf("median is %d, want 2", got)
	}
}
