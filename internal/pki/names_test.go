package pki

import (
	"crypto/x509"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCheckDNSName(t *testing.T) {
	long := strings.Repeat("a", 63)
	tests := map[string]bool{
		"hippo-primary":                  true,
		"hippo-primary.postgres.svc":     true,
		"HIPPO.Example.COM":              true,
		"a":                              true,
		"1.2.3.4.example.com":            true,
		"_postgresql._tcp.example.com":   true,
		"xn--bcher-kva.example":          true,
		"*.example.com":                  true,
		long + ".example.com":            true,
		strings.Repeat("a.", 126) + "a":  true,
		"":                               false,
		".":                              false,
		"*":                              false,
		"*.":                             false,
		"*.com":                          false,
		"*.*.example.com":                false,
		"a.*.example.com":                false,
		"a*.example.com":                 false,
		"*a.example.com":                 false,
		"example.com.":                   false,
		".example.com":                   false,
		"a..example.com":                 false,
		"-a.example.com":                 false,
		"a-.example.com":                 false,
		long + "a.example.com":           false,
		strings.Repeat("a.", 126) + "ab": false,
		"bücher.example":                 false,
		"a b.example.com":                false,
		"a.example.com\x00.evil.com":     false,
		"a.example.com\n":                false,
		"10.0.0.1":                       false,
		"::1":                            false,
		"fe80::1%eth0":                   false,
		"http://example.com":             false,
		"example.com:5432":               false,
	}
	for name, valid := range tests {
		err := CheckDNSName(name)
		if want := map[bool]Reason{true: "", false: NameMalformed}[valid]; ReasonOf(err) != want {
			t.Errorf("%q: reason %q, want %q", name, ReasonOf(err), want)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\n\x00") || !strings.Contains(err.Error(), "DNS name")) {
			t.Errorf("%q: the message is not one clean line that names the field: %q", name, err)
		}
	}
}

func TestCheckDNSNameTellsTheRemedy(t *testing.T) {
	tests := map[string]string{
		"example.com.": "leave the last dot out",
		"10.0.0.1":     "give it as an IP address",
		"*.com":        "put at least two labels behind the wildcard",
		"":             "leave it out",
	}
	for name, remedy := range tests {
		if err := CheckDNSName(name); !strings.HasSuffix(err.Error(), remedy) {
			t.Errorf("%q: %q does not end in %q", name, err, remedy)
		}
	}
}

func TestSortedNames(t *testing.T) {
	given := []string{"b.example.com", "A.example.com", "a.EXAMPLE.com", "*.example.com"}
	before := slices.Clone(given)
	got := must[[]string](t)(sortedNames(given))
	if diff := cmp.Diff([]string{"*.example.com", "a.example.com", "b.example.com"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Equal(given, before) {
		t.Error("the argument has changed")
	}
}

func TestSortedAddresses(t *testing.T) {
	given := []netip.Addr{
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("::ffff:10.0.0.9"), netip.MustParseAddr("10.0.0.9"),
	}
	var got []string
	for _, ip := range must[[]net.IP](t)(sortedAddresses(given)) {
		if ip.To4() != nil && len(ip) != net.IPv4len {
			t.Errorf("%s has %d octets: it would not be an IPv4 entry", ip, len(ip))
		}
		got = append(got, ip.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.9", "10.0.0.10", "2001:db8::1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if ips := must[[]net.IP](t)(sortedAddresses(nil)); ips != nil {
		t.Errorf("no addresses give %v, want nil", ips)
	}
}

func TestMatchesPattern(t *testing.T) {
	tests := []struct {
		host, pattern string
		want          bool
	}{
		{"a.example.com", "a.example.com", true},
		{"A.EXAMPLE.com", "a.example.COM", true},
		{"a.example.com", "*.example.com", true},
		{"a.EXAMPLE.com", "*.example.com", true},
		{"a.example.com", "*.Example.com", true},
		{"ab.example.com", "a.example.com", false},
		{"example.com", "*.example.com", false},
		{".example.com", "*.example.com", false},
		{"a.b.example.com", "*.example.com", false},
		{"xexample.com", "*.example.com", false},
		{"a.example.com", "*.*.com", false},
		{"a.example.com", "*a.example.com", false},
		{"a.example.com", "*", false},
		{"a.example.com", "", false},
		{"", "", false},
		{"*.example.com", "*.example.com", true}, // libpq compares literally first
		{"a.example.com.", "a.example.com", false},
		{"a.example.com", "a.example.com.", false},
		{"a.com", "*.com", false},
	}
	for _, test := range tests {
		if got := matchesPattern(test.host, test.pattern); got != test.want {
			t.Errorf("host %q, pattern %q: %v, want %v", test.host, test.pattern, got, test.want)
		}
	}
}

func TestMatchesNameByAddress(t *testing.T) {
	names := []string{"10.0.0.7", "a.example.com"}
	addresses := []net.IP{net.ParseIP("10.0.0.9"), net.ParseIP("2001:db8::9"), {1, 2, 3}}
	tests := map[string]bool{
		"10.0.0.9": true, "::ffff:10.0.0.9": true, "2001:db8::9": true, "2001:DB8:0:0::9": true,
		"10.0.0.7":    false, // only among the DNS names
		"2001:db8::8": false, "[2001:db8::9]": false, "010.0.0.9": false, "1.2.3": false,
		"a.example.com": true,
	}
	for host, want := range tests {
		if got := matchesName(host, names, addresses); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

// hostName draws names out of few letters, so that hosts and patterns often come close.
func hostName(t *rapid.T, label string) string {
	labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "A", "ab", "", "*", "-", "com"}), 1, 4).Draw(t, label)
	return strings.Join(labels, ".")
}

// slowMatch is the same rule as a regular expression.
func slowMatch(host, pattern string) bool {
	if CheckDNSName(host) != nil || CheckDNSName(pattern) != nil {
		return false
	}
	expression := regexp.QuoteMeta(pattern)
	expression = strings.Replace(expression, `\*`, `[^.]+`, 1)
	return regexp.MustCompile("(?i)^" + expression + "$").MatchString(host)
}

func TestMatchingAgreesWithASlowerRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host, pattern := hostName(t, "host"), hostName(t, "pattern")
		if got, want := matchesPattern(host, pattern), slowMatch(host, pattern); got != want {
			t.Fatalf("host %q, pattern %q: %v, want %v", host, pattern, got, want)
		}
	})
}

func TestMatchingIsAtLeastAsStrictAsGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host, pattern := hostName(t, "host"), hostName(t, "pattern")
		leaf := &x509.Certificate{DNSNames: []string{pattern}}
		if matchesName(host, leaf.DNSNames, nil) && !strings.Contains(host, "*") && leaf.VerifyHostname(host) != nil {
			t.Fatalf("host %q, pattern %q: Go refuses what we accept", host, pattern)
		}
	})
}

func TestEveryNameThatIsCheckedCanBeReadBack(t *testing.T) {
	label := rapid.StringMatching(`[A-Za-z0-9_]([A-Za-z0-9_-]{0,8}[A-Za-z0-9_])?`)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			name := strings.Join(rapid.SliceOfN(label, 2, 4).Draw(t, "labels"), ".")
			return rapid.SampledFrom([]string{"", "*."}).Draw(t, "wildcard") + name
		}), 1, 5).Filter(func(names []string) bool {
			return !slices.ContainsFunc(names, func(name string) bool { return CheckDNSName(name) != nil })
		}).Draw(t, "names")
		leaf := must[*KeyPair](t)(sharedAuthority().Issue(serverRequest(names...))).Leaf()
		for _, name := range names {
			if !slices.Contains(leaf.DNSNames, strings.ToLower(name)) {
				t.Fatalf("%q is lost: %q", name, leaf.DNSNames)
			}
			host := strings.Replace(name, "*", "any", 1)
			r := serverCheck([]*x509.Certificate{leaf}, sharedAuthority().Certificate)
			r.DNSName = host
			wantReason(t, Verify(r), "")
			if err := leaf.VerifyHostname(host); err != nil {
				t.Fatalf("Go refuses %q: %v", host, err)
			}
		}
	})
}
