package harness

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// A Company issues certificates as many do: a root that is kept away, and an intermediate that signs.
type Company struct {
	Name    string
	issuing *pkitest.Certificate
}

// NewCompany makes both authorities.
func NewCompany(name string) *Company {
	root := pkitest.CA(name+" Root CA", pkitest.PathLength(2))
	return &Company{Name: name, issuing: root.Intermediate(name+" Issuing CA", pkitest.PathLength(0))}
}

// Issue returns the content of a Secret: tls.crt with the intermediate, tls.key and ca.crt with the root.
func (c *Company) Issue(commonName string, usage x509.ExtKeyUsage, life time.Duration, hosts ...string) map[string][]byte {
	name := pkix.Name{Organization: []string{c.Name}, CommonName: commonName}
	return c.issuing.Leaf("", pkitest.Subject(name), pkitest.Usages(usage), pkitest.Life(life), pkitest.Hosts(hosts...)).Secret()
}

// Root is what verifiers are to trust, in PEM.
func (c *Company) Root() string { return string(c.issuing.Root().PEM()) }

// Authority is what an issuer that signs for the company needs, as cert-manager's CA issuer takes it: tls.crt with the chain,
// tls.key.
func (c *Company) Authority() map[string][]byte {
	return map[string][]byte{"tls.crt": slices.Concat(c.issuing.PEM(), c.issuing.Root().PEM()), "tls.key": c.issuing.KeyPEM()}
}
