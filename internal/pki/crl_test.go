package pki

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newList(t failer, a *Authority, revoked ...*KeyPair) *x509.RevocationList {
	t.Helper()
	request := RevocationListRequest{Number: 7, ThisUpdate: epoch}
	for _, pair := range revoked {
		request.Revoked = append(request.Revoked, Revocation{Serial: Facts(pair.Leaf()).Serial, At: epoch})
	}
	return must[*x509.RevocationList](t)(a.RevocationList(request))
}

func TestARevocationListEndsWithItsAuthority(t *testing.T) {
	a := newAuthority(t, "hippo client ca g1")
	list := newList(t, a)
	if !list.NextUpdate.Equal(a.Certificate.NotAfter) {
		t.Errorf("the list ends at %s, its authority at %s", list.NextUpdate, a.Certificate.NotAfter)
	}
	_, err := a.RevocationList(RevocationListRequest{ThisUpdate: a.Certificate.NotAfter})
	wantReason(t, err, ValidityMalformed)
}

func TestARevocationListHoldsEachSerialOnceAndInOrder(t *testing.T) {
	a := newAuthority(t, "hippo client ca g1")
	list := must[*x509.RevocationList](t)(a.RevocationList(RevocationListRequest{
		Number: 3, ThisUpdate: epoch, Revoked: []Revocation{{"ff", epoch}, {"a1", epoch.Add(time.Hour)}, {"ff", epoch.Add(time.Hour)}, {"a1", epoch}},
	}))
	want := RevocationListFacts{IssuerKeyID: Facts(a.Certificate).KeyID, Serials: []string{"a1", "ff"}, Number: 3, NextUpdate: a.Certificate.NotAfter.UTC()}
	if diff := cmp.Diff(want, FactsOfRevocationList(list)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if at := list.RevokedCertificateEntries[0].RevocationTime; !at.Equal(epoch) {
		t.Errorf("revoked at %s, want the first time of all", at)
	}
	for _, serial := range []string{"", "0", "-1", "not hexadecimal"} {
		_, err := a.RevocationList(RevocationListRequest{ThisUpdate: epoch, Revoked: []Revocation{{serial, epoch}}})
		wantReason(t, err, SerialMalformed)
	}
}

func TestRevocationListsAreReadAsTheyWereWritten(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo client ca g1"), newAuthority(t, "hippo client ca g2")
	text := EncodeRevocationLists([]*x509.RevocationList{newList(t, g1, newClient(t, g1)), newList(t, g2)})
	lists := must[[]*x509.RevocationList](t)(ParseRevocationLists(text))
	if len(lists) != 2 || !slices.Equal(EncodeRevocationLists(lists), text) {
		t.Errorf("%d lists came back, or others", len(lists))
	}
	tests := map[string]struct {
		text []byte
		want Reason
	}{
		"nothing":       {nil, RevocationListMissing},
		"blank":         {[]byte("\n"), RevocationListMissing},
		"a certificate": {g1.EncodeCertificate(), UnexpectedBlock},
		"cut":           {text[:len(text)-40], NotPEM},
		"no list":       {[]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), RevocationListMalformed},
		"too many":      {[]byte(strings.Repeat(string(EncodeRevocationLists(lists[:1])), MaxCertificates+1)), TooLarge},
	}
	for name, test := range tests {
		_, err := ParseRevocationLists(test.text)
		if got := ReasonOf(err); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// listVerdicts are what is asked of us and of openssl crl_check_all: is a leaf of g2 accepted by a verifier that holds both, and is every list there?
func listVerdicts(t failer) []listVerdict {
	g1, g2 := newAuthority(t, "hippo client ca g1"), newAuthority(t, "hippo client ca g2")
	twin := newAuthority(t, "hippo client ca g2")
	good, revoked := newClient(t, g2), newClient(t, g2)
	both, bridge := []*x509.Certificate{g2.Certificate, g1.Certificate}, bridgeTo(t, g2, g1)
	lists := func(lists ...*x509.RevocationList) []*x509.RevocationList { return lists }
	chain := func(pair *KeyPair, more ...*x509.Certificate) []*x509.Certificate {
		return append([]*x509.Certificate{pair.Leaf()}, more...)
	}
	return []listVerdict{
		{name: "nothing revoked", chain: chain(good), anchors: both, lists: lists(newList(t, g2), newList(t, g1)), accepts: true},
		{name: "another one revoked", chain: chain(good), anchors: both, lists: lists(newList(t, g2, revoked), newList(t, g1)), accepts: true},
		{name: "the leaf revoked", chain: chain(revoked), anchors: both, lists: lists(newList(t, g2, revoked), newList(t, g1)), openssl: "certificate revoked"},
		{name: "revoked by another issuer", chain: chain(revoked), anchors: both, lists: lists(newList(t, g2), newList(t, g1, revoked)), accepts: true},
		{name: "no list of the leaf's authority", chain: chain(good), anchors: both, lists: lists(newList(t, g1)), want: RevocationListMissing, openssl: "unable to get certificate CRL"},
		{name: "no list of an authority that the path does not use", chain: chain(good), anchors: both, lists: lists(newList(t, g2)), want: RevocationListMissing, accepts: true},
		{name: "a list of a twin", chain: chain(good), anchors: both, lists: lists(newList(t, twin), newList(t, g1)), want: RevocationListMissing, openssl: "CRL"},
		{name: "a bridge behind the leaf, the old authority alone held", chain: chain(good, bridge), anchors: both[1:], lists: lists(newList(t, g2), newList(t, g1)), accepts: true},
		{name: "the same without the list of the new one", chain: chain(good, bridge), anchors: both[1:], lists: lists(newList(t, g1)), openssl: "unable to get certificate CRL"},
		{name: "the bridge revoked with all behind it", chain: chain(good, bridge), anchors: both[1:], lists: lists(newList(t, g2), newList(t, g1, &KeyPair{Chain: []*x509.Certificate{bridge}})), openssl: "certificate revoked"},
		{name: "a year later", chain: chain(good), anchors: both, at: epoch.Add(29 * day), lists: lists(newList(t, g2), newList(t, g1)), accepts: true},
		{name: "made by a clock that is ahead", chain: chain(good), anchors: both, at: epoch.Add(-time.Minute), lists: lists(newList(t, g2), newList(t, g1)), want: NotYetValid, openssl: "CRL is not yet valid"},
	}
}

type listVerdict struct {
	name           string
	chain, anchors []*x509.Certificate
	lists          []*x509.RevocationList
	at             time.Time // zero: epoch
	want           Reason    // of CheckRevocationLists
	accepts        bool      // openssl
	openssl        string    // what it says, where it does not
}

func TestRevocationListsAreCheckedAsStrictlyAsOpenSSLDoes(t *testing.T) {
	needOpenSSL(t)
	for _, v := range listVerdicts(t) {
		t.Run(v.name, func(t *testing.T) {
			if v.at.IsZero() {
				v.at = epoch
			}
			wantReason(t, CheckRevocationLists(v.lists, v.anchors, v.at), v.want)
			out, err := opensslVerifyWithLists(t, v)
			if accepts := err == nil; accepts != v.accepts || !v.accepts && !strings.Contains(out, v.openssl) {
				t.Errorf("openssl accepts: %v, want %v with %q\n%s", accepts, v.accepts, v.openssl, out)
			}
		})
	}
}

func TestAnAnchorThatHasEndedNeedsNoList(t *testing.T) {
	a := newAuthority(t, "hippo client ca g1")
	anchors := []*x509.Certificate{a.Certificate}
	wantReason(t, CheckRevocationLists(nil, anchors, a.Certificate.NotAfter.Add(-time.Second)), RevocationListMissing)
	wantReason(t, CheckRevocationLists(nil, anchors, a.Certificate.NotAfter), "")
	shorter := &Authority{Certificate: reissued(t, a, ended), Key: a.Key}
	wantReason(t, CheckRevocationLists([]*x509.RevocationList{newList(t, a)}, []*x509.Certificate{shorter.Certificate}, epoch), "")
}

func TestAListMustBeSignedAndInForce(t *testing.T) {
	a, twin := newAuthority(t, "hippo client ca g1"), newAuthority(t, "hippo client ca g1")
	// A twin that claims the key identifier of a.
	forged := &Authority{Certificate: &x509.Certificate{
		RawSubject: a.Certificate.RawSubject, Subject: a.Certificate.Subject, SubjectKeyId: a.Certificate.SubjectKeyId,
		KeyUsage: x509.KeyUsageCRLSign, NotAfter: a.Certificate.NotAfter,
	}, Key: twin.Key}
	anchors := []*x509.Certificate{a.Certificate}
	wantReason(t, CheckRevocationLists([]*x509.RevocationList{newList(t, forged)}, anchors, epoch), SignatureInvalid)

	brief := &Authority{Certificate: reissued(t, a, func(c *x509.Certificate) { c.NotAfter = epoch.Add(day) }), Key: a.Key}
	wantReason(t, CheckRevocationLists([]*x509.RevocationList{newList(t, brief)}, anchors, epoch.Add(day)), Expired)
}

// opensslVerifyWithLists puts a path to "openssl verify -crl_check_all", which sets the flags that PostgreSQL sets.
func opensslVerifyWithLists(t *testing.T, v listVerdict) (string, error) {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return openssl(t, nil, "verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-attime", fmt.Sprint(v.at.Unix()), "-purpose", "sslclient", "-crl_check_all",
		"-CAfile", file("anchors.pem", encodeCertificates(v.anchors)), "-CRLfile", file("lists.pem", EncodeRevocationLists(v.lists)),
		"-untrusted", file("untrusted.pem", encodeCertificates(v.chain)), file("leaf.pem", encodeCertificates(v.chain[:1])))
}

func TestALeafHasTheSerialThatIsAskedFor(t *testing.T) {
	a := newAuthority(t, "hippo client ca g1")
	request := clientRequest("canary")
	request.Serial = newSerial()
	if got := must[*KeyPair](t)(a.Issue(request)).Leaf().SerialNumber; got.Cmp(request.Serial) != 0 {
		t.Errorf("serial %x, want %x", got, request.Serial)
	}
}
