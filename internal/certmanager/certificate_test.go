package certmanager

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/pki"
)

var update = flag.Bool("update", false, "write the golden files anew")

// request for what the instances of a cluster serve, changed as the test wants it.
func request(change ...func(*Request)) Request {
	r := Request{
		Name:      Name("hippo", InstancesRole),
		Namespace: "postgres",
		Owner: metav1.OwnerReference{
			APIVersion: "pgtls.dev/v1beta1", Kind: "PostgresCluster", Name: "hippo", UID: "0b5e", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
		},
		Labels:      map[string]string{"pgtls.dev/cluster": "hippo", "pgtls.dev/component": "tls"},
		Issuer:      v1beta1.IssuerReference{Name: "company-ca"},
		CommonName:  "hippo-primary",
		DNSNames:    []string{"hippo-primary.postgres.svc", "hippo-primary", "db.example.com"},
		Usage:       pki.ServerAuth,
		Duration:    90 * 24 * time.Hour,
		RenewBefore: 30 * 24 * time.Hour,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func replication(r *Request) {
	r.Name = Name("hippo", ReplicationRole)
	r.Issuer = v1beta1.IssuerReference{Name: "clients", Kind: "AWSPCAClusterIssuer", Group: "awspca.cert-manager.io"}
	r.CommonName, r.DNSNames, r.Usage = "_pgtlsrepl", nil, pki.ClientAuth
	r.Algorithm, r.Duration, r.RenewBefore = pki.RSA3072, 30*24*time.Hour, 0
}

func TestCertificateIsThatOfTheGoldenFile(t *testing.T) {
	for name, r := range map[string]Request{
		"instances":   request(func(r *Request) { r.IPAddresses = []netip.Addr{netip.MustParseAddr("10.96.0.7")} }),
		"replication": request(replication),
	} {
		t.Run(name, func(t *testing.T) {
			got := inYAML(t, r)
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path) //nolint:gosec // a golden file
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("rendered otherwise than %s; look, then run with -update (-want +got):\n%s", path, diff)
			}
		})
	}
}

func inYAML(t *testing.T, r Request) []byte {
	t.Helper()
	content, err := yaml.Marshal(Certificate(r).Object)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Another object would be another certificate with another key.
func TestTheOrderAndFormOfNamesChangesNothing(t *testing.T) {
	addresses := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.10")}
	want := inYAML(t, request(func(r *Request) { r.IPAddresses = addresses }))
	got := inYAML(t, request(func(r *Request) {
		r.DNSNames = append([]string{"DB.example.com"}, r.DNSNames...)
		slices.Reverse(r.DNSNames)
		r.IPAddresses = append([]netip.Addr{netip.MustParseAddr("::ffff:10.0.0.2")}, addresses...)
		slices.Reverse(r.IPAddresses)
	}))
	if !bytes.Equal(want, got) {
		t.Error(cmp.Diff(string(want), string(got)))
	}
}

func TestWhatIsGivenToCertificateIsLeftAlone(t *testing.T) {
	r := request()
	before := slices.Clone(r.DNSNames)
	Certificate(r).SetLabels(map[string]string{"other": "label"})
	if !slices.Equal(before, r.DNSNames) || len(r.Labels) != 2 {
		t.Errorf("the request has become %v %v", r.DNSNames, r.Labels)
	}
}

func TestACommonNameThatCertManagerRefusesIsLeftOutOfAServers(t *testing.T) {
	long := strings.Repeat("n", maxCommonName+1)
	for _, c := range []struct {
		name  string
		usage pki.Usage
		want  string
	}{
		{long, pki.ServerAuth, ""},
		{long[1:], pki.ServerAuth, long[1:]},
		{strings.Repeat("ä", 40), pki.ServerAuth, ""}, // 80 octets
		{"", pki.ServerAuth, ""},
		{long, pki.ClientAuth, long}, // a client's is no decoration: better refused than lost
	} {
		spec := Certificate(request(func(r *Request) { r.CommonName, r.Usage = c.name, c.usage })).Object["spec"].(map[string]any)
		if got, _ := spec["commonName"].(string); got != c.want {
			t.Errorf("common name %q of %d octets, usage %s, became %q", c.name, len(c.name), c.usage, got)
		}
	}
}

func TestEveryAlgorithmHasItsKey(t *testing.T) {
	for algorithm, want := range map[pki.Algorithm]map[string]any{
		"":            {"algorithm": "ECDSA", "size": int64(256)},
		pki.ECDSAP256: {"algorithm": "ECDSA", "size": int64(256)},
		pki.ECDSAP384: {"algorithm": "ECDSA", "size": int64(384)},
		pki.RSA2048:   {"algorithm": "RSA", "size": int64(2048)},
		pki.RSA3072:   {"algorithm": "RSA", "size": int64(3072)},
		pki.RSA4096:   {"algorithm": "RSA", "size": int64(4096)},
	} {
		want["encoding"], want["rotationPolicy"] = "PKCS8", "Always"
		if diff := cmp.Diff(want, privateKey(algorithm)); diff != "" {
			t.Errorf("%q: %s", algorithm, diff)
		}
	}
}

func TestNamesOfRolesAreTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, role := range Roles() {
		name := Name("hippo", role)
		if seen[name] || strings.HasSuffix(name, "-tls") {
			t.Errorf("%s is called %s", role, name)
		}
		seen[name] = true
	}
}
