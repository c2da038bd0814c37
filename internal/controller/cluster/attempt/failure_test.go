package attempt

import (
	"context"
	"fmt"
	"testing"
)

func TestTextsLoseWhatDiffersAtEachAttempt(t *testing.T) {
	for in, want := range map[string]string{
		"read tcp 10.0.0.7:50123->10.0.0.9:8008: connection reset": "read tcp (address)->(address): connection reset",
		"dial tcp [fd00::1]:5432: connect: refused":                "dial tcp (address): connect: refused",
		"ERROR: role \"x\" does not exist (SQLSTATE 42704)":        "ERROR: role \"x\" does not exist (SQLSTATE 42704)",
	} {
		if got := Stable(in); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := Unanswered(fmt.Errorf("asking: %w", context.DeadlineExceeded)); got != "it does not answer in time" {
		t.Errorf("got %q", got)
	}
}
