package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

var idCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// Limits of names: ub-common-name in RFC 5280 appendix A.1, and RFC 1035 section 2.3.4.
const (
	maxCommonName = 64  // characters
	maxDNSName    = 253 // octets
	maxDNSLabel   = 63  // octets
)

// checkCommonName takes the empty name: whether there must be one depends on the usage.
func checkCommonName(name string) error {
	const remedy = "use at most 64 printable characters"
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return refuse(NameMalformed, remedy, "common name %q holds characters that cannot be printed", name)
	}
	if n := utf8.RuneCountInString(name); n > maxCommonName {
		return refuse(NameMalformed, remedy, "common name %q has %d characters", name, n)
	}
	return nil
}

// CheckDNSName refuses names that libpq, OpenSSL or Go could not match or parse in a certificate:
// a trailing dot (Go clients refuse the whole certificate), empty or over-long labels, characters other than
// letters, digits, hyphen and underscore, a wildcard that is not the whole leftmost label or has fewer than two
// labels behind it (OpenSSL never matches it), and IP addresses.
//
// Errors: NameMalformed.
func CheckDNSName(name string) error {
	malformed := func(remedy, fact string) error {
		return refuse(NameMalformed, remedy, "DNS name %q %s", name, fact)
	}
	if name == "" {
		return malformed("leave it out", "is empty")
	}
	if len(name) > maxDNSName {
		return malformed("use at most 253 characters", "is too long")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return malformed("give it as an IP address", "is an IP address")
	}
	if strings.HasSuffix(name, ".") {
		return malformed("leave the last dot out", "ends with a dot")
	}
	labels := strings.Split(name, ".")
	if labels[0] == "*" {
		if len(labels) < 3 {
			return malformed("put at least two labels behind the wildcard", "has a wildcard that no client matches")
		}
		labels = labels[1:]
	}
	for _, label := range labels {
		if !validLabel(label) {
			return malformed("use labels of 1 to 63 letters, digits, hyphens within, and a wildcard only as the whole first label",
				"has a label that is empty, too long or holds other characters")
		}
	}
	return nil
}

func validLabel(label string) bool {
	if label == "" || len(label) > maxDNSLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(label, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// sortedNames returns the names in lower case, sorted and without doubles.
func sortedNames(names []string) ([]string, error) {
	sorted := make([]string, 0, len(names))
	for _, name := range names {
		if err := CheckDNSName(name); err != nil {
			return nil, err
		}
		sorted = append(sorted, strings.ToLower(name))
	}
	slices.Sort(sorted)
	return slices.Compact(sorted), nil
}

// sortedAddresses returns the addresses sorted and without doubles; ::ffff:a.b.c.d is a.b.c.d.
func sortedAddresses(addresses []netip.Addr) ([]net.IP, error) {
	sorted := make([]netip.Addr, 0, len(addresses))
	for _, address := range addresses {
		if !address.IsValid() || address.Zone() != "" {
			return nil, refuse(NameMalformed, "give the bare address", "IP address %q is not valid or has a zone", address)
		}
		sorted = append(sorted, address.Unmap())
	}
	slices.SortFunc(sorted, netip.Addr.Compare)
	var ips []net.IP
	for _, address := range slices.Compact(sorted) {
		ips = append(ips, address.AsSlice())
	}
	return ips, nil
}

// matchesName tells whether a client that connects to host with verify-full accepts these names. It follows
// libpq (fe-secure-common.c) where libpq is strict, and is stricter where libpq is lax: the common name
// never counts, and an IP address matches only an IP address entry.
func matchesName(host string, names []string, addresses []net.IP) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return slices.ContainsFunc(addresses, func(ip net.IP) bool {
			got, ok := netip.AddrFromSlice(ip)
			return ok && got.Unmap() == address.Unmap()
		})
	}
	return slices.ContainsFunc(names, func(pattern string) bool { return matchesPattern(host, pattern) })
}

// CommonNameCovers reports whether libpq finds host in the leaf's common name, where it looks if there is no alternative name.
// So does JDBC. Go and Rust do not, and nothing else in this package does.
func CommonNameCovers(leaf *x509.Certificate, host string) bool {
	if host == "" || len(leaf.DNSNames) > 0 || len(leaf.IPAddresses) > 0 {
		return false
	}
	for _, part := range leaf.Subject.Names {
		if name, ok := part.Value.(string); ok && part.Type.Equal(idCommonName) { // the first, as libpq does; crypto/x509 has the last
			return matchesPattern(host, name) || strings.EqualFold(host, name)
		}
	}
	return false
}

// matchesPattern compares without case; "*" stands for exactly one leftmost label.
func matchesPattern(host, pattern string) bool {
	if CheckDNSName(host) != nil || CheckDNSName(pattern) != nil {
		return false
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		_, rest, _ := strings.Cut(host, ".")
		return strings.EqualFold("."+rest, suffix)
	}
	return strings.EqualFold(host, pattern)
}
