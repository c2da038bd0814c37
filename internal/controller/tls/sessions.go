package tls

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation"
)

// sessionsTimeout is how long a PostgreSQL may take to say who is connected.
const sessionsTimeout = 3 * time.Second

// sessionReader asks a PostgreSQL who is connected.
type sessionReader func(context.Context, postgres.Server) ([]postgres.Session, error)

func readSessions(ctx context.Context, server postgres.Server) ([]postgres.Session, error) {
	conn, err := postgres.Connect(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return postgres.Sessions(ctx, conn)
}

// observeSessions adds who is connected with a client certificate. It costs a connection with every instance, and so it is
// done only when the plan waits for it: just before a client authority is dropped.
func (r *Reconciler) observeSessions(ctx context.Context, v *view) {
	identity := r.identity(v)
	if identity == nil {
		return
	}
	own := map[string]bool{} // addresses of the cluster's own pods
	for _, pod := range v.pods {
		own[pod.Status.PodIP] = true
	}
	var wait sync.WaitGroup
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		if party.Kind != rotation.Instance {
			continue
		}
		for j := range party.Pods {
			wait.Go(func() { r.sessionsOf(ctx, v, identity, own, &party.Pods[j]) })
		}
	}
	wait.Wait()
}

func (r *Reconciler) sessionsOf(ctx context.Context, v *view, identity *identity, own map[string]bool, seen *rotation.Pod) {
	ctx, cancel := context.WithTimeout(ctx, sessionsTimeout)
	defer cancel()
	pod := v.pods[seen.Name]
	sessions, err := r.sessions(ctx, postgres.Server{
		Host: pod.Status.PodIP, User: agentapi.OperatorIdentity, Database: "postgres", TLS: r.clientTLS(v, pod, identity),
	})
	if err != nil {
		return // unknown
	}
	seen.SessionsKnown = true
	seen.Sessions = foreignSessions(v.cluster.Name, sessions, own)
}

// foreignSessions are those that came in with a certificate of the cluster's client authority which the operator cannot
// replace: neither from the cluster's own pods nor the operator's own.
func foreignSessions(cluster string, sessions []postgres.Session, own map[string]bool) (out []rotation.Session) {
	for _, s := range sessions {
		// pg_stat_ssl writes a name as OpenSSL does in one line: /CN=hippo client ca g1
		generation := generationNamed(cluster, rotation.Client, strings.TrimPrefix(s.IssuerDN, "/"))
		if generation == 0 || own[s.Address] || s.User == agentapi.OperatorIdentity {
			continue
		}
		session := rotation.Session{Generation: generation, User: s.User, Address: s.Address}
		if !slices.Contains(out, session) {
			out = append(out, session)
		}
	}
	return out
}

// clientTLS is how the operator connects with a pod.
func (r *Reconciler) clientTLS(v *view, pod *corev1.Pod, identity *identity) *tls.Config {
	name, anchors := serverName(v.cluster, pod), identity.anchors
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         name,
		Certificates:       []tls.Certificate{identity.certificate},
		InsecureSkipVerify: true, // VerifyConnection does it, and at least as strictly as OpenSSL
		VerifyConnection: func(state tls.ConnectionState) error {
			return pki.Verify(pki.VerifyRequest{Chain: state.PeerCertificates, Anchors: anchors, At: r.now(), Usage: pki.ServerAuth, DNSName: name})
		},
	}
}
