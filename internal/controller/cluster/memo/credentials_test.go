package memo

import (
	"crypto/rand"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/desired"
)

// noRandom shows that new credentials are made.
type noRandom struct{}

var errAsked = errors.New("asked for randomness")

func (noRandom) Read([]byte) (int, error) { return 0, errAsked }

func TestCredentialsAreVerifiedUntilTheyAreKnown(t *testing.T) {
	known, hippo := NewCredentials(), types.NamespacedName{Namespace: "zoo", Name: "hippo"}
	made, err := known.Keep(hippo, "app", nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data := func(c desired.Credentials) map[string][]byte {
		return map[string][]byte{"password": []byte(c.Password), "verifier": []byte(c.Verifier)}
	}
	if again, err := known.Keep(hippo, "app", data(made), noRandom{}); err != nil || again != made {
		t.Errorf("known credentials became %v, %v", again, err)
	}
	for name, changed := range map[string]desired.Credentials{
		"password": {Password: "another", Verifier: made.Verifier},
		"verifier": {Password: made.Password, Verifier: "SCRAM-SHA-256$4096:AAAA$x:y"},
		"both":     {},
	} {
		if _, err := known.Keep(hippo, "app", data(changed), noRandom{}); !errors.Is(err, errAsked) {
			t.Errorf("a changed %s is taken for known: %v", name, err)
		}
	}
	known.Forget(hippo)
	if known.isKnown(hippo, "app", made) {
		t.Error("a cluster that is gone is remembered")
	}
}
