package pki_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

var now = time.Date(2030, time.March, 4, 5, 6, 7, 0, time.UTC)

func exampleAuthority() *pki.Authority {
	a, err := pki.NewAuthority(pki.AuthorityRequest{
		CommonName: "hippo server ca g1", NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(2, 0, 0),
	})
	if err != nil {
		panic(err)
	}
	return a
}

func exampleRequest() pki.LeafRequest {
	return pki.LeafRequest{
		CommonName: "hippo-primary", DNSNames: []string{"hippo-primary.postgres.svc", "hippo-primary"}, Usage: pki.ServerAuth,
		NotBefore: now.Add(-10 * time.Minute), NotAfter: now.AddDate(0, 0, 90),
	}
}

// An authority issues a leaf, and what a party needs is written as PEM.
func ExampleAuthority_Issue() {
	authority := exampleAuthority()
	pair, err := authority.Issue(exampleRequest())
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := pair.EncodeKey()
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = pki.ParseKeyPair(pair.EncodeChain(), key)
	facts := pki.Facts(pair.Leaf())
	fmt.Println(facts.Subject, "by", facts.Issuer, "for", facts.Usage, facts.DNSNames, err)
	// Output: CN=hippo-primary by CN=hippo server ca g1 for server [hippo-primary hippo-primary.postgres.svc] <nil>
}

// A leaf that would outlive its authority is refused: one day it would be served and verify nowhere.
func ExampleReasonOf() {
	r := exampleRequest()
	r.NotAfter = now.AddDate(3, 0, 0)
	_, err := exampleAuthority().Issue(r)
	err = fmt.Errorf("issuing for hippo-primary: %w", err)

	var refused *pki.Error
	fmt.Println(pki.ReasonOf(err), errors.As(err, &refused))
	fmt.Println(refused.Fact)
	fmt.Println(refused.Remedy)
	// Output:
	// LeafOutlivesAuthority true
	// the leaf would end at 2033-03-04T05:06:07Z, after its authority at 2032-03-04T05:06:07Z
	// shorten the leaf or re-key the authority first
}

// Verify answers for one verifier, one name and one time.
func ExampleVerify() {
	authority := exampleAuthority()
	pair, err := authority.Issue(exampleRequest())
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := pki.VerifyRequest{
		Chain: pair.Chain, Anchors: []*x509.Certificate{authority.Certificate}, At: now, Usage: pki.ServerAuth, DNSName: "hippo-primary",
	}
	fmt.Println("now:", pki.Verify(ask))

	ask.DNSName = "hippo-replicas"
	fmt.Println("another name:", pki.Verify(ask))

	ask.DNSName, ask.At = "hippo-primary", now.AddDate(0, 0, 90)
	fmt.Println("after 90 days:", pki.Verify(ask))
	// Output:
	// now: <nil>
	// another name: the leaf is not for "hippo-replicas" but for ["hippo-primary" "hippo-primary.postgres.svc"] []: issue it with that name
	// after 90 days: the leaf has expired at 2030-06-02T05:06:07Z: renew it
}

// Two parties whose leaves were issued together renew at different times, and never later than asked.
func ExampleRenewalTime() {
	end := now.AddDate(0, 0, 90)
	for _, party := range []string{"hippo-instance1-abcd/server", "hippo-instance1-efgh/server"} {
		at := pki.RenewalTime(now, end, 30*24*time.Hour, party)
		fmt.Println(party, end.Sub(at) > 30*24*time.Hour, end.Sub(at) < 33*24*time.Hour)
	}
	// Output:
	// hippo-instance1-abcd/server true true
	// hippo-instance1-efgh/server true true
}

// Operator and agent compute the same revision, each on its own.
func ExampleRevision() {
	secret := map[string][]byte{"tls.crt": []byte("chain"), "tls.key": []byte("key"), "ca.crt": []byte("bundle")}
	fmt.Println(pki.Revision(secret))
	secret["ca.crt"] = []byte("bundle, with another anchor")
	fmt.Println(pki.Revision(secret) == "fe09560f3831daba")
	// Output:
	// fe09560f3831daba
	// false
}
