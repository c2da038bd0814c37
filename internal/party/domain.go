package party

import "pgtls.dev/pgtls/internal/pki"

// Domain is a trust domain. Each has its own authority.
type Domain string

// The trust domains.
const (
	Server Domain = "server" // what servers present
	Client Domain = "client" // what clients present
)

// Domains returns both, in a fixed order.
func Domains() []Domain { return []Domain{Server, Client} }

// Usage is what a domain's leaves are presented as.
func (d Domain) Usage() pki.Usage {
	if d == Client {
		return pki.ClientAuth
	}
	return pki.ServerAuth
}
