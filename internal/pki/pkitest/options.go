package pkitest

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"
)

// Option changes a certificate before it is signed.
type Option func(*Template)

// Valid gives both ends of the validity, which are cut to whole seconds.
func Valid(from, to time.Time) Option {
	return func(t *Template) { t.NotBefore, t.NotAfter = from, to }
}

// Life ends the certificate after so long, counted from now.
func Life(life time.Duration) Option {
	return func(t *Template) { t.NotAfter = time.Now().Add(life) }
}

// Hosts gives the alternative names of a server: DNS names and IP addresses.
func Hosts(hosts ...string) Option {
	return func(t *Template) {
		for _, host := range hosts {
			if address := net.ParseIP(host); address != nil {
				t.IPAddresses = append(t.IPAddresses, address)
			} else {
				t.DNSNames = append(t.DNSNames, host)
			}
		}
	}
}

// Subject replaces the whole subject.
func Subject(name pkix.Name) Option { return func(t *Template) { t.Subject = name } }

// Usages replaces the extended key usages; without any the leaf is for every purpose.
func Usages(usages ...x509.ExtKeyUsage) Option { return func(t *Template) { t.ExtKeyUsage = usages } }

// Client makes a leaf a client's.
func Client(t *Template) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }

// PathLength is how many authorities may stand between an authority and a leaf.
func PathLength(n int) Option {
	return func(t *Template) { t.MaxPathLen, t.MaxPathLenZero = n, n == 0 }
}

// Serial gives the serial number, which is random otherwise.
func Serial(n int64) Option { return func(t *Template) { t.SerialNumber = big.NewInt(n) } }

// Key gives the key, which is a fresh ECDSA P-256 otherwise.
func Key(key crypto.Signer) Option { return func(t *Template) { t.key = key } }

// PublicKey makes the certificate for a key that another program holds, as from a signing request.
func PublicKey(public crypto.PublicKey) Option { return func(t *Template) { t.public = public } }

// Edit changes any field of crypto/x509.
func Edit(edit func(*x509.Certificate)) Option { return func(t *Template) { edit(&t.Certificate) } }

// Certificates with a fault.

// ByHand makes what "openssl req -x509" and, before OpenSSL 3.2, "openssl x509 -req" make without a configuration: a certificate
// without key usage, and a leaf without key identifiers and basic constraints. OpenSSL accepts it, strict verifiers do not.
func ByHand(t *Template) {
	t.KeyUsage, t.withoutKeyIDs = 0, true
	t.BasicConstraintsValid = t.IsCA
}

// BrokenSignature changes the signature's last octet.
func BrokenSignature(t *Template) { t.breakSignature = true }
