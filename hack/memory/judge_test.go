package main

import (
	"testing"

	"pgtls.dev/pgtls/hack/beside"
)

func TestGrowthAboveTheLimitFails(t *testing.T) {
	before := beside.Sample{Resident: 15_000_000, Heap: 10_000_000}
	if err := judge("here", before, beside.Sample{Resident: before.Resident + growthLimit}); err != nil {
		t.Errorf("growth up to the limit fails: %v", err)
	}
	if err := judge("here", before, beside.Sample{Resident: before.Resident + growthLimit + 1}); err == nil {
		t.Error("growth above the limit does not fail")
	}
}
