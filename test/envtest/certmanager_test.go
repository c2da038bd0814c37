//go:build envtest

package envtest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/harness"
)

// The webhook, which is not here, would take no life below 1h and no renewal less than 5m before the end.
const (
	shortLife        = 16 * time.Second
	shortRenewBefore = 12 * time.Second
	long             = 17520 * time.Hour
)

// TestCertManagerIssues has the real controller answer what pgtls asks of it: from a self-signed authority over a CA issuer to
// leaves, which it renews by itself and issues anew for another spec.
func TestCertManagerIssues(t *testing.T) {
	manager := harness.StartCertManager(t, config, filepath.Join(t.TempDir(), "cert-manager.log"))
	i := newIssuing(t, "issuing")
	request := i.request(pki.ServerAuth)
	request.Duration, request.RenewBefore = shortLife, shortRenewBefore
	i.apply(certmanager.Certificate(request))

	// Before there is an issuer: what a user reads that has mistyped its name.
	i.awaitStatus("that it cannot be issued", request.Name, func(s certmanager.Status) bool { return !s.Ready && s.Reason != "" })
	i.authority("company-ca", "", long, long/2)

	first := i.awaitSecret("a first leaf", request.Name, anyLeaf)
	i.checkContent(first, pki.ServerAuth, shortLife)
	i.checkMetadata(first, request.Name)
	renewed := i.awaitSecret("a renewal", request.Name, first.isSame)
	again := i.awaitSecret("another renewal", request.Name, renewed.isSame)
	i.checkRenewal(first, renewed)
	i.checkRenewal(renewed, again)

	request.DNSNames, request.Duration, request.RenewBefore = append(request.DNSNames, "new.example.com"), time.Hour, 5*time.Minute
	i.apply(certmanager.Certificate(request))
	changed := i.awaitSecret("a leaf for another spec", request.Name, func(s issued) string {
		if s.pair.Leaf().VerifyHostname("new.example.com") != nil {
			return "its names are " + strings.Join(s.pair.Leaf().DNSNames, ", ")
		}
		return ""
	})
	i.checkContent(changed, pki.ServerAuth, time.Hour)
	i.checkTimes(request.Name, changed)

	client := i.request(pki.ClientAuth)
	i.apply(certmanager.Certificate(client))
	i.checkContent(i.awaitSecret("a client's leaf", client.Name, anyLeaf), pki.ClientAuth, client.Duration)

	if err := manager.Stop(); err != nil {
		t.Fatal(err)
	}
	if now := i.look(request.Name); now.problem != "" || changed.isSame(now) == "" {
		t.Errorf("while cert-manager is away there is another leaf, or none: %s", now.problem)
	}
}

// TestCertManagerIssuesFromAnIntermediate: ca.crt is the root only where cert-manager is given the root. Otherwise it is its best
// guess, the intermediate, and no anchor.
func TestCertManagerIssuesFromAnIntermediate(t *testing.T) {
	harness.StartCertManager(t, config, filepath.Join(t.TempDir(), "cert-manager.log"))
	i := newIssuing(t, "issuing-chains")
	i.authority("root", "", long, long/2)
	i.authority("company-ca", "root", long/2, long/4)

	request := i.request(pki.ServerAuth)
	i.apply(certmanager.Certificate(request))
	whole := i.awaitSecret("a leaf of an intermediate", request.Name, anyLeaf)
	i.checkContent(whole, pki.ServerAuth, request.Duration)
	if len(whole.pair.Chain) != 2 || whole.authorities[0].Subject.CommonName != "root" {
		t.Errorf("a chain of %d, ca.crt is %s", len(whole.pair.Chain), whole.authorities[0].Subject)
	}

	rootless := i.look("company-ca").secret
	i.create(fmt.Sprintf(`{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: rootless}, data: {tls.crt: %s, tls.key: %s}}`,
		base64.StdEncoding.EncodeToString(rootless.Data[corev1.TLSCertKey]), base64.StdEncoding.EncodeToString(rootless.Data[corev1.TLSPrivateKeyKey])))
	i.issuer("rootless", "rootless")
	request.Issuer.Name = "rootless"
	i.apply(certmanager.Certificate(request))
	guessed := i.awaitSecret("a leaf of an intermediate alone", request.Name, whole.isSame)
	err := pki.Verify(pki.VerifyRequest{Chain: guessed.pair.Chain, Anchors: guessed.authorities, At: time.Now(), Usage: pki.ServerAuth})
	if pki.ReasonOf(err) != pki.NotSelfSigned {
		t.Errorf("an intermediate as ca.crt: %v", err)
	}
}

// TestCertManagerIssuesWhatOutlivesItsAuthority: nothing keeps leaves within the life of their authority, a new authority
// makes no new leaves, and the ca.crt of the next leaf has no room for the old one.
func TestCertManagerIssuesWhatOutlivesItsAuthority(t *testing.T) {
	harness.StartCertManager(t, config, filepath.Join(t.TempDir(), "cert-manager.log"))
	i := newIssuing(t, "issuing-ends")
	i.authority("company-ca", "", shortLife, shortRenewBefore)
	request := i.request(pki.ServerAuth)
	i.apply(certmanager.Certificate(request))
	before := i.awaitSecret("a leaf", request.Name, anyLeaf)
	if end := before.authorities[0].NotAfter; !before.pair.Leaf().NotAfter.After(end) {
		t.Errorf("the leaf ends at %s, within its authority, which ends at %s", before.pair.Leaf().NotAfter, end)
	}
	i.awaitOtherCertificate("company-ca", i.look("company-ca").secret.Data[corev1.TLSCertKey])
	i.awaitLookedAt(request.Name)
	if now := i.look(request.Name); now.problem != "" || before.isSame(now) == "" {
		t.Error("a new authority has made a new leaf")
	}

	request.DNSNames = append(request.DNSNames, "new.example.com")
	i.apply(certmanager.Certificate(request))
	after := i.awaitSecret("a leaf of the other authority", request.Name, before.isSame)
	if len(after.authorities) != 1 || after.authorities[0].Equal(before.authorities[0]) {
		t.Errorf("ca.crt holds %d certificates, or the old one", len(after.authorities))
	}
}

var heredoc = regexp.MustCompile(`(?ms)<<'EOF'\n(.*?)^EOF$`)

// TestThePageOnCertManagerIsTaken asks the API server about every manifest in the users' page.
func TestThePageOnCertManagerIsTaken(t *testing.T) {
	harness.StartCertManager(t, config, filepath.Join(t.TempDir(), "cert-manager.log"))
	newIssuing(t, "postgres")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "issuers", "cert-manager.md"))
	if err != nil {
		t.Fatal(err)
	}
	manifests := 0
	for _, block := range heredoc.FindAllSubmatch(page, -1) {
		for _, manifest := range strings.Split(string(block[1]), "\n---\n") {
			manifests++
			if err := tryCreate(t.Context(), &unstructured.Unstructured{Object: parse(t, manifest)}); err != nil {
				t.Errorf("%v:\n%s", err, manifest)
			}
		}
	}
	if manifests < 5 {
		t.Errorf("found only %d manifests in the page", manifests)
	}
}

func anyLeaf(issued) string { return "" }

// checkContent looks at the Secret as pgtls will: with its own strict verification.
func (i *issuing) checkContent(s issued, usage pki.Usage, life time.Duration) {
	i.Helper()
	leaf := s.pair.Leaf()
	request := pki.VerifyRequest{Chain: s.pair.Chain, Anchors: s.authorities, At: time.Now(), Usage: usage}
	if usage == pki.ServerAuth {
		request.DNSName = "hippo-primary.postgres.svc"
	} else if leaf.Subject.String() != "CN=_pgtlsrepl" {
		i.Errorf("the client's subject is %s", leaf.Subject)
	}
	if err := pki.Verify(request); err != nil {
		i.Errorf("pgtls does not take it: %v", err)
	}
	if lives := leaf.NotAfter.Sub(leaf.NotBefore); lives != life {
		i.Errorf("it lives %s, want %s", lives, life)
	}
	if got := pki.AlgorithmOf(leaf.PublicKey); got != pki.ECDSAP256 {
		i.Errorf("its key is %s", got)
	}
}

// checkMetadata: what cert-manager writes on the Secret, and that it makes nothing its owner, so that the Secret outlives the Certificate.
func (i *issuing) checkMetadata(s issued, name string) {
	i.Helper()
	for annotation, want := range map[string]string{
		certmanager.CertificateNameAnnotation: name,
		certmanager.IssuerNameAnnotation:      "company-ca",
		certmanager.IssuerKindAnnotation:      certmanager.IssuerKind,
		certmanager.IssuerGroupAnnotation:     certmanager.Group,
	} {
		if got := s.secret.Annotations[annotation]; got != want {
			i.Errorf("annotation %s is %q, want %q", annotation, got, want)
		}
	}
	if s.secret.Labels[certmanager.ControllerLabel] != "true" || s.secret.Type != corev1.SecretTypeTLS || len(s.secret.OwnerReferences) != 0 {
		i.Errorf("labels %v, type %s, owners %v", s.secret.Labels, s.secret.Type, s.secret.OwnerReferences)
	}
}

func (i *issuing) checkRenewal(before, after issued) {
	i.Helper()
	i.Logf("renewed %s after issuance", after.pair.Leaf().NotBefore.Sub(before.pair.Leaf().NotBefore))
	if string(before.secret.Data[corev1.TLSPrivateKeyKey]) == string(after.secret.Data[corev1.TLSPrivateKeyKey]) {
		i.Error("a renewal has kept the key")
	}
	if string(before.secret.Data["ca.crt"]) != string(after.secret.Data["ca.crt"]) {
		i.Error("a renewal has changed ca.crt, although the issuer is the same")
	}
}

// checkTimes: the status is written after the Secret, so it is waited for.
func (i *issuing) checkTimes(name string, s issued) {
	i.Helper()
	leaf := s.pair.Leaf()
	status := i.awaitStatus("that the leaf is ready", name, func(status certmanager.Status) bool {
		return status.Ready && status.NotAfter.Equal(leaf.NotAfter)
	})
	if want := leaf.NotAfter.Add(-5 * time.Minute); !status.RenewalTime.Equal(want) {
		i.Errorf("it is to be renewed at %s, want %s", status.RenewalTime, want)
	}
}
