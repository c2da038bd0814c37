package facts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Ledger is what was issued to applications and has not ended.
type Ledger struct {
	State  MaterialState // Missing: nothing was ever issued
	Issued []Issued      // in the order of issue
}

// Issued is a certificate of an application.
type Issued struct {
	User        string
	Serial      string
	IssuerKeyID string
	At          time.Time // when it was issued: its NotBefore is earlier
	NotAfter    time.Time
	RevokedAt   time.Time // zero: it is not
}

// Revocations are the serial numbers on the lists of material, by the key of the authority that signed the list. nil: there are
// no lists, and PostgreSQL checks nothing.
type Revocations map[string][]string

// ListNumbers are the numbers of revocation lists, by the key of the authority that signed each. A number is above the
// time, in seconds, at which the list was signed: what was revoked before is on it.
type ListNumbers map[string]int64

// Holds reports whether everything in want is in r: a list for each authority, and on it each serial number.
func (r Revocations) Holds(want Revocations) bool {
	for issuer, serials := range want {
		list, there := r[issuer]
		if !there || !Within(serials, list) {
			return false
		}
	}
	return true
}

// Some reports whether anything is on the lists.
func (r Revocations) Some() bool {
	for _, serials := range r {
		if len(serials) > 0 {
			return true
		}
	}
	return false
}

// String names what is on the lists; "" when nothing is.
func (r Revocations) String() string {
	if !r.Some() { // every party is asked in every decision
		return ""
	}
	var text strings.Builder
	for _, issuer := range slices.Sorted(maps.Keys(r)) {
		for _, serial := range r[issuer] {
			fmt.Fprintf(&text, "%s/%s ", issuer, serial)
		}
	}
	return text.String()
}
