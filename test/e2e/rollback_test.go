//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/harness"
)

const rollbackAnnotation = "pgtls.dev/rollback-requested-at"

// rollBackAfter is how many refusals undo a re-key in this story, so that it need not wait for many.
const rollBackAfter = 10

// A re-key is undone in every phase, by request and by clients that refuse, and no application notices.
func rollback(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(1).With(func(spec *v1beta1.PostgresClusterSpec) {
		spec.TLS = &v1beta1.TLSSpec{Rotation: &v1beta1.RotationSpec{AutoRollback: &v1beta1.AutoRollbackSpec{Refusals: ptr.To[int32](rollBackAfter)}}}
	}))
	pods := s.identities(c)
	l := s.underLoad(c, light)
	oldOnly := s.trusting(c, "old", s.bundleOf(c))
	var undone []time.Duration
	for i, phase := range []string{"Preparing", "Reissuing", "Soaking"} {
		undone = append(undone, s.isUndoneWhile(c, phase, i+1))
	}
	s.fact("undoneMs", harness.SpreadOf(undone))
	s.clientsUndo(c, len(undone)+1)
	l.end()
	s.noneFailed("the first bundle", oldOnly)
	s.same("pods and restarts", pods, s.identities(c))
}

// isUndoneWhile asks for a re-key, and for a roll-back once it has come to a phase. n counts the re-keys, and so the
// generations that come to nothing.
func (s *story) isUndoneWhile(c *living, phase string, n int) time.Duration {
	s.Helper()
	allow := func() {}
	if phase == "Preparing" {
		allow = s.forbidActivation(c) // or it would be over before we have looked
	}
	defer allow()
	s.annotate(c, rotateAnnotation, fmt.Sprintf("server:%d", n))
	switch phase {
	case "Preparing", "Soaking":
		s.awaitPhase(c, phase)
	case "Reissuing": // takes seconds
		s.eventually("leaves of both authorities", rekeyLimit, func(context.Context) string {
			if kinds := slices.Compact(slices.Sorted(slices.Values(s.issuers(c)))); len(kinds) != 2 {
				return fmt.Sprintf("all are of %q", kinds)
			}
			return ""
		})
	}
	asked := time.Now()
	s.annotate(c, rollbackAnnotation, fmt.Sprintf("server:undo-%d", n))
	s.eventually("the roll-back to be noted", rekeyLimit, func(context.Context) string {
		return s.notRolledBack(c, n+1)
	})
	s.Logf("%s: rolled back while leaves were of %q", phase, slices.Sorted(slices.Values(s.issuers(c))))
	allow()
	s.awaitGeneration(c, "server", 1)
	took := time.Since(asked)
	s.saysRolledBack(c, n+1, "RolledBack")
	return took
}

// clientsUndo has clients with a wrong bundle come as soon as the new authority signs.
func (s *story) clientsUndo(c *living, n int) {
	s.Helper()
	s.annotate(c, rotateAnnotation, fmt.Sprintf("server:%d", n))
	s.awaitPhase(c, "Soaking")
	wrong, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: "wrong", Algorithm: pki.DefaultAlgorithm, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)})
	s.must(err)
	began := time.Now()
	refusing := s.trusting(c, "wrong", string(wrong.EncodeCertificate()))
	s.eventually("the roll-back by itself", rekeyLimit, func(context.Context) string {
		if missing := s.notRolledBack(c, n+1); missing != "" {
			return fmt.Sprintf("%s after %+v", missing, refusing.SoFar())
		}
		return ""
	})
	s.fact("secondsUntilClientsUndidIt", time.Since(began).Seconds())
	s.must(refusing.Stop())
	if sum := refusing.SoFar(); sum.Failed != sum.Tried || sum.Failed < rollBackAfter {
		s.Errorf("of the clients with a wrong bundle %d of %d were let in", sum.Tried-sum.Failed, sum.Tried)
	}
	s.awaitGeneration(c, "server", 1)
	s.saysRolledBack(c, n+1, "ClientsRefuse")
	s.hasEvent(c, "RolledBack", "ClientsRefuse: clients refused leaves of")
}

// notRolledBack says that a generation is not rolled back, "" when it is: that is noted on its own Secret, and on g1's once it is dropped.
func (s *story) notRolledBack(c *living, generation int) string {
	var own, first corev1.Secret
	_ = kube.Get(s.Context(), s.authorityKey(c, "server", generation), &own) // it may be gone already
	if err := kube.Get(s.Context(), s.authorityKey(c, "server", 1), &first); err != nil {
		return err.Error()
	}
	if own.Annotations["pgtls.dev/rollback-reason"] != "" || first.Annotations["pgtls.dev/rolled-back"] == fmt.Sprint(generation) {
		return ""
	}
	return fmt.Sprintf("g%d is not rolled back, the last that was is %q", generation, first.Annotations["pgtls.dev/rolled-back"])
}

// saysRolledBack: the status says what came to nothing, and why, and nothing is tried again.
func (s *story) saysRolledBack(c *living, generation int, because string) {
	s.Helper()
	cluster, err := c.Get(s.Context())
	s.must(err)
	for _, a := range cluster.Status.TLS.Authorities {
		if a.Name == "server-g1" && (a.RolledBack != fmt.Sprintf("server-g%d", generation) || a.RollbackReason != because) {
			s.Errorf("server-g1 says that %q was rolled back because %q, wanted g%d because %q", a.RolledBack, a.RollbackReason, generation, because)
		}
	}
}

func (s *story) hasEvent(c *living, reason, text string) {
	s.Helper()
	s.eventually("an event "+reason, 30*time.Second, func(ctx context.Context) string {
		var list corev1.EventList
		if err := kube.List(ctx, &list, client.InNamespace(c.Namespace)); err != nil {
			return err.Error()
		}
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return ""
			}
		}
		return "there is none that says " + text
	})
}

func (s *story) annotate(c *living, key, value string) {
	s.Helper()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) { metav1.SetMetaDataAnnotation(&cluster.ObjectMeta, key, value) }))
}

// awaitPhase waits until the server domain's re-key has come to a phase.
func (s *story) awaitPhase(c *living, phase string) {
	s.Helper()
	s.eventually("the phase "+phase, rekeyLimit, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil || cluster.Status.TLS == nil {
			return fmt.Sprintf("no status: %v", err)
		}
		for _, r := range cluster.Status.TLS.Rekeys {
			if r.Domain == "server" && r.Phase == phase {
				return ""
			}
		}
		return fmt.Sprintf("%+v, waiting for %+v", cluster.Status.TLS.Rekeys, cluster.Status.TLS.Blockers)
	})
}

// issuers of the stored server leaves.
func (s *story) issuers(c *living) (issuers []string) {
	s.Helper()
	secrets, err := c.Secrets(s.Context())
	s.must(err)
	for _, secret := range secrets {
		if pair, err := pki.ParseKeyPair(secret.Data["server.crt"], secret.Data["server.key"]); err == nil {
			issuers = append(issuers, pair.Leaf().Issuer.CommonName)
		}
	}
	return issuers
}
