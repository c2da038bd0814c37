package gather

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// sessionsTimeout is how long a PostgreSQL may take to list its sessions.
const sessionsTimeout = 3 * time.Second

// SessionReader asks a PostgreSQL for its sessions.
type SessionReader func(context.Context, postgres.Server) ([]postgres.Session, error)

// ReadSessions is a SessionReader.
func ReadSessions(ctx context.Context, server postgres.Server) ([]postgres.Session, error) {
	conn, err := postgres.Connect(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return postgres.Sessions(ctx, conn)
}

// GatherSessions adds the sessions of clients with a certificate. It costs a connection with every instance, and so it is
// done only when the plan waits for it: just before a client authority is dropped.
func (g *Gatherer) GatherSessions(ctx context.Context, s *snapshot.Snapshot) {
	v := &look{Gatherer: g, Snapshot: s}
	identity := v.Identity()
	if identity == nil {
		return
	}
	own := map[string]bool{} // addresses of the cluster's own pods
	for _, pod := range v.Pods {
		own[pod.Status.PodIP] = true
	}
	var wait sync.WaitGroup
	for i := range v.Observed.Parties {
		party := &v.Observed.Parties[i]
		if !party.Kind.AuthenticatesClients {
			continue
		}
		for j := range party.Pods {
			wait.Go(func() { sessionsOf(ctx, v, identity, own, &party.Pods[j]) })
		}
	}
	wait.Wait()
}

func sessionsOf(ctx context.Context, v *look, identity *evidence.Identity, own map[string]bool, seen *facts.Pod) {
	ctx, cancel := context.WithTimeout(ctx, sessionsTimeout)
	defer cancel()
	pod := v.Pods[seen.Name]
	sessions, err := v.Sessions(ctx, identity.Server(pod.Status.PodIP, snapshot.ServerName(v.Cluster, pod), v.Now))
	if err != nil {
		return // unknown
	}
	seen.SessionsKnown = true
	seen.Sessions = foreignSessions(v, sessions, own)
}

// foreignSessions are those that came in with a certificate which the operator cannot replace: neither from the cluster's own
// pods nor the operator's own.
func foreignSessions(v *look, sessions []postgres.Session, own map[string]bool) (out []facts.Session) {
	for _, s := range sessions {
		// pg_stat_ssl writes a name as OpenSSL does in one line: /CN=hippo client ca g1
		if s.IssuerDN == "" || own[s.Address] || s.User == agentapi.OperatorIdentity {
			continue
		}
		session := facts.Session{
			Generation: material.GenerationNamed(v.Cluster.Name, facts.Client, strings.TrimPrefix(s.IssuerDN, "/")),
			Issuer:     issuerNamed(v, s.IssuerDN), User: s.User, Address: s.Address,
		}
		if !slices.Contains(out, session) {
			out = append(out, session)
		}
	}
	return out
}

// issuerNamed returns the subject of the anchor from elsewhere that pg_stat_ssl names, or the name as it is when none is
// called so, or more than one.
func issuerNamed(v *look, name string) string {
	var subjects []string
	for _, a := range v.External {
		if a.Facts.Domain == facts.Client && postgres.OneLineName(a.Certificate.Subject) == name && !slices.Contains(subjects, a.Facts.Subject) {
			subjects = append(subjects, a.Facts.Subject)
		}
	}
	if len(subjects) != 1 {
		return name
	}
	return subjects[0]
}
