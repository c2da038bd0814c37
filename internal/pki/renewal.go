package pki

import "time"

// RenewalTime returns when to renew a certificate: renewBefore ahead of its end, minus a jitter that spreads
// certificates that were issued together.
//
// The jitter is a function of jitterKey alone, whose parts are read as one (so nothing has to be stored, and every process
// computes the same), only ever makes the renewal earlier, and is less than a tenth of the smaller of renewBefore and
// the rest of the life.
// The result is a whole second, never before notBefore and never after notAfter: a renewBefore that is longer than
// the life means at once, and a negative one means zero.
func RenewalTime(notBefore, notAfter time.Time, renewBefore time.Duration, jitterKey ...string) time.Time {
	renewBefore = max(renewBefore, 0)
	rest := notAfter.Sub(notBefore) - renewBefore
	if rest <= 0 {
		return notBefore
	}
	due := notAfter.Add(-renewBefore - jitter(min(renewBefore, rest)/10, jitterKey...))
	due = due.Add(-time.Duration(due.Nanosecond()))
	if due.Before(notBefore) {
		return notBefore
	}
	return due
}

// jitter returns a duration in [0, window), or 0 for an empty window.
func jitter(window time.Duration, key ...string) time.Duration {
	if window <= 0 {
		return 0
	}
	return time.Duration(spread(key...) % uint64(window))
}

// spread maps a key to a number: 64-bit FNV-1a, and the finalizer of MurmurHash3 so that keys that differ in
// their last byte alone are far apart too. It need not resist an attacker; a plan asks for it once per leaf, and a
// cryptographic hash was half of the time that a plan took.
func spread(key ...string) uint64 {
	hash := uint64(14695981039346656037)
	for _, part := range key {
		for i := range len(part) {
			hash = (hash ^ uint64(part[i])) * 1099511628211
		}
	}
	hash = (hash ^ hash>>33) * 0xff51afd7ed558ccd
	hash = (hash ^ hash>>33) * 0xc4ceb9fe1a85ec53
	return hash ^ hash>>33
}
