package custom_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
)

type bundle struct {
	name    string
	text    []byte
	anchors int
	want    []custom.Finding // without messages, in order
}

func authority(name string, notBefore, notAfter time.Time) []byte {
	a, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: name, NotBefore: notBefore, NotAfter: notAfter})
	if err != nil {
		panic(err)
	}
	return a.EncodeCertificate()
}

// bundles are texts of trust anchors. Pieces of Secrets come from the corpus.
func bundles() []bundle {
	const day = 24 * time.Hour
	one, two := authority("one", epoch.Add(-day), epoch.Add(day)), authority("two", epoch.Add(-day), epoch.Add(day))
	old, next := authority("old", epoch.Add(-2*day), epoch.Add(-day)), authority("next", epoch.Add(day), epoch.Add(2*day))
	ended := authority("ends now", epoch.Add(-day), epoch)
	leaf := byName("instance: ECDSA P-256, PKCS#8").Input.Data["tls.crt"]
	keyed := byName("instance: the authority's key in ca.crt too").Input.Data["ca.crt"]
	intermediate := byName("instance: ca.crt holds the issuer and not the root").Input.Data["ca.crt"]
	unidentified := byName("instance: an authority without key identifier").Input.Data["ca.crt"]
	refuse := func(r custom.Reason) []custom.Finding {
		return []custom.Finding{{Reason: r, Severity: custom.Refuse}}
	}
	warn := func(r custom.Reason) []custom.Finding {
		return []custom.Finding{{Reason: r, Severity: custom.Warn}}
	}
	return []bundle{
		{"one", one, 1, nil},
		{"two", slices.Concat(one, two), 2, nil},
		{"empty", nil, 0, refuse(custom.NoCertificate)},
		{"garbage", []byte("404 page not found"), 0, refuse(custom.NotPEM)},
		{"a key alone", byName("instance: ECDSA P-256, PKCS#8").Input.Data["tls.key"], 0, append(warn(custom.UnexpectedBlock), refuse(custom.NoCertificate)...)},
		{"twice", slices.Concat(one, two, one), 2, warn(custom.Duplicate)},
		{"an expired one besides", slices.Concat(old, one), 1, warn(custom.Expired)},
		{"one that ends this instant besides", slices.Concat(ended, one), 1, warn(custom.Expired)},
		{"expired", old, 0, refuse(custom.Expired)},
		{"one of the future besides", slices.Concat(one, next), 1, warn(custom.NotYetValid)},
		{"a leaf besides", slices.Concat(leaf, one), 1, warn(custom.NotCA)},
		{"a leaf", leaf, 0, refuse(custom.NotCA)},
		{"an intermediate besides", slices.Concat(intermediate, one), 1, warn(custom.NotSelfSigned)},
		{"an intermediate", intermediate, 0, refuse(custom.NotSelfSigned)},
		{"without key identifier, besides", slices.Concat(unidentified, one), 2, warn(custom.StrictVerifiersRefuse)},
		{"with a key", keyed, 1, warn(custom.UnexpectedBlock)},
		{"too many bytes", append(bytes.Repeat([]byte("# comment\n"), 1<<17), one...), 0, refuse(custom.TooLarge)},
		{"too many certificates", bytes.Repeat(one, 101), 0, refuse(custom.TooLarge)},
		{"a block cut at the end", append(bytes.Clone(one), two[:len(two)/2]...), 0, refuse(custom.NotPEM)},
	}
}

func TestCheckBundle(t *testing.T) {
	for _, b := range bundles() {
		t.Run(b.name, func(t *testing.T) {
			anchors, findings := custom.CheckBundle("ConfigMap postgres/roots", "roots.pem", b.text, epoch)
			checkFindings(t, "ConfigMap postgres/roots", anchors != nil, findings)
			if len(anchors) != b.anchors {
				t.Errorf("%d anchors, want %d", len(anchors), b.anchors)
			}
			var got []custom.Finding
			for _, f := range findings {
				got = append(got, custom.Finding{Reason: f.Reason, Severity: f.Severity})
			}
			if diff := cmp.Diff(b.want, got); diff != "" {
				t.Errorf("found (+), want (-):\n%s%v", diff, findings)
			}
		})
	}
}
