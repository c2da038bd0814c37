//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/pki/pkitest"
	"pgtls.dev/pgtls/test/harness"
)

// repairLimit is what "within seconds" means.
const repairLimit = 20 * time.Second

// Every Secret of a cluster is damaged by hand, in every way. No
// application notices, and each Secret is whole again within seconds.
func handDamage(s *story) {
	c := s.standing()
	l := s.underLoad(c, light)
	secrets, err := c.Secrets(s.Context())
	s.must(err)
	var repairs []time.Duration
	damaged := 0
	for _, secret := range secrets {
		switch {
		case strings.HasSuffix(secret.Name, "-tls"):
			for _, damage := range damages {
				repairs = append(repairs, s.isRepaired(c, l, secret.Name, damage))
				damaged++
			}
		case strings.Contains(secret.Name, "-ca-g"):
			s.authorityIsImmutable(secret)
			repairs = append(repairs, s.authorityReturns(c, secret))
			damaged++
		}
	}
	s.awaitSteady(c, l.deliveries, readyLimit)
	l.end()
	// Three instances, the poolers and the operator have material; each domain has an authority, which is stored twice.
	if want := 5*len(damages) + 4; damaged != want {
		s.Errorf("%d damages were done, wanted %d: not every Secret was found", damaged, want)
	}
	s.fact("damages", damaged)
	s.fact("repairedMs", harness.SpreadOf(repairs))
	s.userSecretIsRepaired(c)
}

// A damage is done to a Secret's data.
type damage struct {
	name string
	do   func(map[string][]byte) (map[string][]byte, error) // nil: the Secret is deleted
}

var damages = []damage{
	{name: "deleted"},
	{name: "blanked", do: func(data map[string][]byte) (map[string][]byte, error) {
		return replaceAll(data, func([]byte) []byte { return nil }), nil
	}},
	{name: "garbled", do: func(data map[string][]byte) (map[string][]byte, error) {
		return replaceAll(data, garble), nil
	}},
	{name: "key swapped", do: swapKeys},
}

func replaceAll(data map[string][]byte, with func([]byte) []byte) map[string][]byte {
	replaced := map[string][]byte{}
	for key, value := range data {
		replaced[key] = with(value)
	}
	return replaced
}

// garble keeps the look of PEM and breaks what is in it.
func garble(value []byte) []byte {
	broken := bytes.Clone(value)
	for i := 40; i < len(broken)-40; i += 7 {
		broken[i] = 'A'
	}
	return broken
}

// swapKeys puts in good keys that belong to no certificate there.
func swapKeys(data map[string][]byte) (map[string][]byte, error) {
	swapped := maps.Clone(data)
	for name := range data {
		if strings.HasSuffix(name, ".key") {
			swapped[name] = pkitest.CA("nothing of the cluster's").KeyPEM()
		}
	}
	return swapped, nil
}

// isRepaired damages a material Secret and returns how long it took until it was whole.
func (s *story) isRepaired(c *living, l *load, name string, damage damage) time.Duration {
	s.Helper()
	begun := time.Now()
	s.inflict(c, name, damage)
	s.eventually(name+" "+damage.name+", to be whole again", repairLimit, func(ctx context.Context) string {
		return c.MaterialProblem(ctx, name)
	})
	repaired := time.Since(begun)
	s.awaitSteady(c, l.deliveries, readyLimit)
	s.Logf("%s %s: whole after %s, steady after %s", name, damage.name, repaired.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if failures := slices.DeleteFunc(l.failures(), func(f harness.Failure) bool { return f.At.Before(begun) }); len(failures) > 0 {
		s.Errorf("after %s was %s:\n%s", name, damage.name, harness.Telling(failures, 3))
	}
	return repaired
}

func (s *story) inflict(c *living, name string, damage damage) {
	s.Helper()
	key := client.ObjectKey{Namespace: c.Namespace, Name: name}
	for {
		var secret corev1.Secret
		s.must(kube.Get(s.Context(), key, &secret))
		if damage.do == nil {
			s.must(kube.Delete(s.Context(), &secret))
			return
		}
		data, err := damage.do(secret.Data)
		s.must(err)
		secret.Data = data
		err = kube.Update(s.Context(), &secret)
		if !apierrors.IsConflict(err) {
			s.must(err)
			return
		}
	}
}

func (s *story) authorityIsImmutable(secret corev1.Secret) {
	s.Helper()
	for _, damage := range damages {
		if damage.do == nil {
			continue
		}
		broken := secret.DeepCopy()
		var err error
		broken.Data, err = damage.do(secret.Data)
		s.must(err)
		if err := kube.Update(s.Context(), broken); !apierrors.IsInvalid(err) {
			s.Errorf("authority %s, %s: %v; wanted the API server to refuse it as immutable", secret.Name, damage.name, err)
		}
	}
}

// authorityReturns after it was deleted, with the very same key and certificate.
func (s *story) authorityReturns(c *living, before corev1.Secret) time.Duration {
	s.Helper()
	begun := time.Now()
	s.must(kube.Delete(s.Context(), &before))
	s.eventually("authority "+before.Name+" to be back", repairLimit, func(ctx context.Context) string {
		var now corev1.Secret
		err := kube.Get(ctx, client.ObjectKeyFromObject(&before), &now)
		switch {
		case err != nil:
			return err.Error()
		case now.DeletionTimestamp != nil:
			return "it is still being deleted"
		}
		for key, value := range before.Data {
			if !bytes.Equal(now.Data[key], value) {
				return key + " is another one"
			}
		}
		return ""
	})
	repaired := time.Since(begun)
	s.must(c.AwaitReady(s.Context(), readyLimit))
	return repaired
}

// userSecretIsRepaired comes last and without load: the password is new then, and the client pod's
// mount of the Secret follows only when the kubelet looks.
func (s *story) userSecretIsRepaired(c *living) {
	s.Helper()
	name := c.Name + "-pguser-" + c.Name
	for _, damage := range []damage{damages[0], damages[1]} {
		s.inflict(c, name, damage)
		s.eventually(name+" "+damage.name+", to log in again", repairLimit, func(ctx context.Context) string {
			for _, service := range []string{"primary", "pgbouncer"} {
				if _, err := c.client.Query(ctx, harness.Login{Target: c.Service(service)}, "select 1"); err != nil {
					return fmt.Sprintf("%s: %v", service, err)
				}
			}
			return ""
		})
	}
}
