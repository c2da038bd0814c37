//go:build e2e

package e2e

import (
	"time"

	"pgtls.dev/pgtls/test/harness"
)

// size is how much of everything a run takes: the one place where "make test" and "make soak" differ. "make test" shows each
// thing once, on two processors beside others; "make soak" shows it often enough that a rare failure has a chance to appear, and
// one story at a time, so that its times are its own.
type size struct {
	set string // as the figures name it

	// pace of the stories that show themselves by a number of connections.
	pace pace
	// besidePace is that of the stories that share the machine under "make test": three of them at once must not make Patroni wait
	// for a processor longer than its lease.
	besidePace pace

	rekeys, rekeyConnections     int           // rekey-server, rekey-client
	customConnections            int           // custom-server, custom-replication, custom-pooler
	renewals, renewalConnections int           // renew-under-load
	issuerRenewals               int           // issuer-renewal
	requests                     int           // renew-on-request
	oneBadCaseOf, fewestBadCases int           // custom-bad: one of so many cases is tried
	oneKillOf, fewestKills       int           // rekey-crash: after one of so many writes
	rest                         time.Duration // idle
	blockedConnections           int           // blocked-steps
	blockedRenewals              int           // blocked-steps: of each pod behind each obstacle
}

var (
	sizeOfTest = size{
		set: "test", pace: medium, besidePace: light,
		rekeys: 2, rekeyConnections: 3_000,
		customConnections: 2_000,
		renewals:          4, renewalConnections: 4_000,
		issuerRenewals: 2,
		requests:       10,
		oneBadCaseOf:   4, fewestBadCases: 40,
		oneKillOf: 3, fewestKills: 7,
		rest:               2 * time.Minute,
		blockedConnections: 3_000,
		blockedRenewals:    1,
	}
	sizeOfSoak = size{
		set: "soak", pace: heavy, besidePace: heavy,
		rekeys: 3, rekeyConnections: 20_000,
		customConnections: 10_000,
		renewals:          10, renewalConnections: 20_000,
		issuerRenewals: 5,
		requests:       30,
		oneBadCaseOf:   1, fewestBadCases: 60,
		oneKillOf: 1, fewestKills: 20, // a re-key of two parties cannot do with fewer writes
		rest:               5 * time.Minute,
		blockedConnections: 10_000,
		blockedRenewals:    2,
	}
)

// sized is the size of this run.
var sized = sizeOfThisRun()

func sizeOfThisRun() size {
	if harness.Soak() {
		return sizeOfSoak
	}
	return sizeOfTest
}
