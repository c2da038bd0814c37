package act

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// sessionsTimeout is how long a PostgreSQL may take to end sessions.
const sessionsTimeout = 3 * time.Second

// SessionEnder ends the sessions of a PostgreSQL that came in with certificates of these serial numbers.
type SessionEnder func(context.Context, postgres.Server, []string) (int, error)

// EndSessions is a SessionEnder.
func EndSessions(ctx context.Context, server postgres.Server, serials []string) (int, error) {
	conn, err := postgres.Connect(ctx, server)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return postgres.EndSessions(ctx, conn, serials)
}

// endSessions ends the sessions of a pod whose certificates are revoked.
func endSessions(ctx context.Context, v *round, step plan.EndSessions) error {
	identity, pod, party := v.Identity(), v.Pods[step.Pod], v.Party(step.Party)
	if identity == nil {
		return errNoSigner
	}
	var serials []string
	for _, revoked := range party.Material.Revoked {
		serials = append(serials, revoked...)
	}
	ctx, cancel := context.WithTimeout(ctx, sessionsTimeout)
	defer cancel()
	ended, err := v.EndSessions(ctx, identity.Server(pod.Status.PodIP, snapshot.ServerName(v.Cluster, pod), v.Now), serials)
	if err != nil {
		return podSilent(step.Pod, err)
	}
	v.Terminations.Take(pod.UID, types.NamespacedName{Namespace: v.Cluster.Namespace, Name: v.Cluster.Name}, party.Material.Revoked.String(), v.Observed.Now)
	if ended > 0 {
		sendEvent(v, eventNormal, eventSessionsEnded, "%d sessions of pod %s were ended: their certificates are revoked", ended, step.Pod)
	}
	return nil
}
