package custom_test

import (
	"bytes"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
)

// FuzzCheck holds for any bytes: no panic, a certificate exactly when nothing refuses, messages of one line, and what is
// accepted verifies and can be read back from what pgtls would store.
func FuzzCheck(f *testing.F) {
	for i, c := range cases() {
		f.Add(uint8(i), c.Input.Data["tls.crt"], c.Input.Data["tls.key"], c.Input.Data["ca.crt"])
	}
	all := cases()
	f.Fuzz(func(t *testing.T, which uint8, crt, key, ca []byte) {
		in := all[int(which)%len(all)].Input
		in.Items = nil
		in.Data = map[string][]byte{"tls.crt": crt, "tls.key": key, "ca.crt": ca}
		certificate, findings := custom.Check(in)
		checkFindings(t, in.Source, certificate != nil, findings)
		if certificate != nil {
			wantUsable(t, in, certificate)
		}
		anchors, findings := custom.CheckBundle("ConfigMap a/b", "ca.crt", ca, epoch)
		checkFindings(t, "ConfigMap a/b", anchors != nil, findings)
	})
}

func wantUsable(t *testing.T, in custom.Input, c *custom.Certificate) {
	t.Helper()
	usage := pki.ServerAuth
	if in.Role == custom.Replication {
		usage = pki.ClientAuth
	}
	names := []string{""}
	if usage == pki.ServerAuth {
		names = append(names, in.Names...)
	}
	for _, name := range names {
		if pki.CommonNameCovers(c.Pair.Leaf(), name) {
			continue
		}
		if err := pki.Verify(pki.VerifyRequest{Chain: c.Pair.Chain, Anchors: c.Anchors, At: in.Now, Usage: usage, DNSName: name, Lenient: true}); err != nil {
			t.Errorf("accepted, and does not verify for %q: %v", name, err)
		}
	}
	key, err := c.Pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	again, err := pki.ParseKeyPair(c.Pair.EncodeChain(), key)
	if err != nil {
		t.Fatalf("what would be stored cannot be read: %v", err)
	}
	if !bytes.Equal(again.EncodeChain(), c.Pair.EncodeChain()) {
		t.Error("what would be stored is read as something else")
	}
	if _, err := pki.ParseBundle(pki.EncodeBundle(c.Anchors)); err != nil {
		t.Errorf("the anchors that would be stored cannot be read: %v", err)
	}
}

// TestACrowdOfAuthoritiesIsBounded: a hundred authorities of one name and key that all signed each other are more paths than
// a search could walk.
func TestACrowdOfAuthoritiesIsBounded(t *testing.T) {
	c := byName("instance: issuers in the wrong order")
	in := c.Input
	in.Data = map[string][]byte{"tls.key": c.Input.Data["tls.key"], "ca.crt": byName("instance: several anchors").Input.Data["ca.crt"]}
	in.Data["tls.crt"] = crowd(t, in.Data["tls.key"])
	began := time.Now()
	certificate, findings := custom.Check(in)
	checkFindings(t, in.Source, certificate != nil, findings)
	if took := time.Since(began); certificate != nil || took > 20*time.Second {
		t.Errorf("accepted: %v, after %s", certificate != nil, took)
	}
}
