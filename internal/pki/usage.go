package pki

import "crypto/x509"

// Usage is what a leaf may be presented as. Issue takes exactly one, since servers' and clients'
// certificates come from different trust domains; a certificate from elsewhere may have both.
type Usage uint8

// The usages are bits.
const (
	ServerAuth Usage = 1 << iota
	ClientAuth
)

// String returns "server", "client", "server+client" or "none".
func (u Usage) String() string {
	switch u {
	case ServerAuth:
		return "server"
	case ClientAuth:
		return "client"
	case ServerAuth | ClientAuth:
		return "server+client"
	}
	return "none"
}

// Has reports whether u includes every usage of v.
func (u Usage) Has(v Usage) bool { return u&v == v }

// single reports whether u is exactly one usage.
func (u Usage) single() bool { return u == ServerAuth || u == ClientAuth }

// extended returns the extended key usage of a single usage.
func (u Usage) extended() x509.ExtKeyUsage {
	if u == ClientAuth {
		return x509.ExtKeyUsageClientAuth
	}
	return x509.ExtKeyUsageServerAuth
}

// usageOf reads the extended key usages. A certificate without that extension is unrestricted
// (RFC 5280 section 4.2.1.12). anyExtendedKeyUsage counts for nothing, as in OpenSSL.
func usageOf(c *x509.Certificate) Usage {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return ServerAuth | ClientAuth
	}
	var u Usage
	for _, e := range c.ExtKeyUsage {
		switch e {
		case x509.ExtKeyUsageServerAuth:
			u |= ServerAuth
		case x509.ExtKeyUsageClientAuth:
			u |= ClientAuth
		}
	}
	return u
}
