package tls

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
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
	seen.Sessions = v.foreignSessions(sessions, own)
}

// foreignSessions are those that came in with a certificate which the operator cannot replace: neither from the cluster's own
// pods nor the operator's own.
func (v *view) foreignSessions(sessions []postgres.Session, own map[string]bool) (out []rotation.Session) {
	for _, s := range sessions {
		// pg_stat_ssl writes a name as OpenSSL does in one line: /CN=hippo client ca g1
		if s.IssuerDN == "" || own[s.Address] || s.User == agentapi.OperatorIdentity {
			continue
		}
		session := rotation.Session{
			Generation: generationNamed(v.cluster.Name, rotation.Client, strings.TrimPrefix(s.IssuerDN, "/")),
			Issuer:     v.issuerNamed(s.IssuerDN), User: s.User, Address: s.Address,
		}
		if !slices.Contains(out, session) {
			out = append(out, session)
		}
	}
	return out
}

// issuerNamed returns the subject of the anchor from elsewhere that pg_stat_ssl names, or the name as it is when none is
// called so, or more than one.
func (v *view) issuerNamed(name string) string {
	var subjects []string
	for _, a := range v.foreign {
		if a.facts.Domain == rotation.Client && oneLineName(a.certificate.Subject) == name && !slices.Contains(subjects, a.facts.Subject) {
			subjects = append(subjects, a.facts.Subject)
		}
	}
	if len(subjects) != 1 {
		return name
	}
	return subjects[0]
}

// shortNames are those that OpenSSL has for the parts of a name.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O",
	"2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description", "2.5.4.15": "businessCategory", "2.5.4.17": "postalCode",
	"2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.46": "dnQualifier",
	"2.5.4.65": "pseudonym", "2.5.4.97": "organizationIdentifier",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID", "1.2.840.113549.1.9.1": "emailAddress",
}

// maxOneLine is how much of a name pg_stat_ssl has room for, in bytes.
const maxOneLine = 63

// oneLineName writes a name as pg_stat_ssl does.
func oneLineName(name pkix.Name) string {
	var text strings.Builder
	for _, part := range name.Names {
		fmt.Fprintf(&text, "/%s=%s", shortNames[part.Type.String()], escaped(fmt.Sprint(part.Value)))
	}
	return text.String()[:min(text.Len(), maxOneLine)]
}

// escaped writes a part of a name as RFC 2253 has it, with letters beyond ASCII as they are.
func escaped(value string) string {
	var text strings.Builder
	for i, c := range value {
		isEdge := c == ' ' && (i == 0 || i == len(value)-1) || c == '#' && i == 0
		switch {
		case isEdge || strings.ContainsRune(`,+"\<>;`, c):
			text.WriteRune('\\')
			text.WriteRune(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&text, `\%02X`, c)
		default:
			text.WriteRune(c)
		}
	}
	return text.String()
}

// clientTLS is how the operator connects with a pod's PostgreSQL. It may serve a certificate from elsewhere, so names are not
// verified (see nameToVerify), and what OpenSSL demands by default is enough.
func (r *Reconciler) clientTLS(v *view, pod *corev1.Pod, identity *identity) *tls.Config {
	anchors := identity.anchors
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         serverName(v.cluster, pod),
		Certificates:       []tls.Certificate{identity.certificate},
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(state tls.ConnectionState) error {
			return pki.Verify(pki.VerifyRequest{Chain: state.PeerCertificates, Anchors: anchors, At: r.now(), Usage: pki.ServerAuth, Foreign: true})
		},
	}
}
