package harness

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestASecondKeyForAGenerationIsNoticed(t *testing.T) {
	type event struct{ name, uid, certificate string }
	for name, c := range map[string]struct {
		events   []event
		second   int
		restored int
	}{
		"each its own":     {[]event{{"h-server-ca-g1", "1", "a"}, {"h-server-ca-g2", "2", "b"}, {"h-client-ca-g1", "3", "c"}}, 0, 0},
		"marked":           {[]event{{"h-server-ca-g1", "1", "a"}, {"h-server-ca-g1", "1", "a"}}, 0, 0},
		"overwritten":      {[]event{{"h-server-ca-g1", "1", "a"}, {"h-server-ca-g1", "1", "b"}}, 1, 0},
		"made a 2nd time":  {[]event{{"h-server-ca-g1", "1", "a"}, {"h-server-ca-g1", "2", "b"}}, 1, 0},
		"restored":         {[]event{{"h-server-ca-g1", "1", "a"}, {"h-server-ca-g1-copy", "2", "a"}, {"h-server-ca-g1", "3", "a"}}, 0, 1},
		"copied wrongly":   {[]event{{"h-server-ca-g1", "1", "a"}, {"h-server-ca-g1-copy", "2", "b"}}, 1, 0},
		"no authority's":   {[]event{{"h-00-0-tls", "1", "a"}, {"h-00-0-tls", "1", "b"}}, 0, 0},
		"of another story": {[]event{{"h-server-ca-g1", "1", "a"}, {"h-server-ca-g11", "2", "b"}}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Authorities{known: map[string]sighting{}}
			for _, e := range c.events {
				a.seen(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: e.name, UID: types.UID(e.uid)}, Data: map[string][]byte{"ca.crt": []byte(e.certificate)}})
			}
			if len(a.Seconds()) != c.second || a.Restored() != c.restored {
				t.Errorf("%d second keys %v, %d restored, want %d and %d", len(a.Seconds()), a.Seconds(), a.Restored(), c.second, c.restored)
			}
		})
	}
	a := &Authorities{known: map[string]sighting{}}
	for _, name := range []string{"h-server-ca-g2", "h-server-ca-g1-copy"} {
		a.seen(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	if diff := cmp.Diff([]string{"h-server-ca-g1", "h-server-ca-g2"}, a.Names()); diff != "" {
		t.Error(diff)
	}
}
