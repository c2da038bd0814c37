// Package facts is the vocabulary of what is known of a cluster's certificates: policy and observation. It decides nothing.
// Its methods look up, or compare with an instant; what a fact means for a rotation is judged elsewhere.
//
// A fact that could not be read is absent or says so. Absent facts are unknown, and unknown is never a yes.
package facts

import (
	"slices"

	"pgtls.dev/pgtls/internal/party"
)

// Domain is a trust domain, and Kind a kind of party: see internal/party.
type (
	Domain = party.Domain
	Kind   = party.Kind
)

// The trust domains.
const (
	Server = party.Server
	Client = party.Client
)

// Domains returns both, in a fixed order.
func Domains() []Domain { return party.Domains() }

// Intersect reports whether two sets have a member in common.
func Intersect(a, b []string) bool {
	for _, s := range a {
		if slices.Contains(b, s) {
			return true
		}
	}
	return false
}

// Within reports whether every member of want is in have; both are sorted.
func Within(want, have []string) bool {
	i := 0
	for _, w := range want {
		for i < len(have) && have[i] != w {
			i++
		}
		if i == len(have) {
			return false
		}
	}
	return true
}
