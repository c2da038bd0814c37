package pki

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// RenewalTime returns when to renew a certificate: renewBefore ahead of its end, minus a jitter that spreads
// certificates that were issued together.
//
// The jitter is a function of jitterKey alone (so nothing has to be stored, and everybody computes the same), only
// ever makes the renewal earlier, and is less than a tenth of the smaller of renewBefore and the rest of the life.
// The result is a whole second, never before notBefore and never after notAfter: a renewBefore that is longer than
// the life means at once, and a negative one means zero.
func RenewalTime(notBefore, notAfter time.Time, renewBefore time.Duration, jitterKey string) time.Time {
	renewBefore = max(renewBefore, 0)
	due := notAfter.Add(-renewBefore)
	if !due.After(notBefore) {
		return notBefore
	}
	window := min(renewBefore, due.Sub(notBefore)) / 10
	due = due.Add(-jitter(jitterKey, window)).Truncate(time.Second)
	if due.Before(notBefore) {
		return notBefore
	}
	return due
}

// jitter returns a duration in [0, window), or 0 for an empty window.
func jitter(key string, window time.Duration) time.Duration {
	if window <= 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(key))
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(window))
}
