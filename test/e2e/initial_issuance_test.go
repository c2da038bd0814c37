//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgtls.dev/pgtls/test/harness"
)

// From its first minute on, every path of a cluster is encrypted and verified from both ends.
func initialIssuance(s *story) {
	c := s.standing()
	s.everyClientConnects(c)
	s.sessionsAreEncrypted(c)
	s.replicasStreamWithCertificates(c)
	s.poolersUseCertificates(c)
	s.plaintextIsRefused(c)
	s.nothingChangesWithoutCertificate(c)
}

// everyClientConnects with libpq and pgx, verify-full, on every path.
func (s *story) everyClientConnects(c *living) {
	s.Helper()
	targets, err := c.Targets(s.Context())
	s.must(err)
	connecting, err := c.client.Connect(s.Context(), targets, harness.Rates{Pgx: 2, Psql: 1, Pgbench: 2})
	s.must(err)
	s.awaitTried(connecting, targets, 3)
	s.must(connecting.Stop())
	sum := connecting.SoFar()
	s.figures.Connections, s.figures.Failed = sum.Tried, sum.Failed
	if failures := connecting.Failures(); len(failures) > 0 {
		s.Errorf("%d connections failed:\n%s", sum.Failed, harness.Telling(failures, 10))
	}
}

// awaitTried waits until every kind of client has tried every target so many times more.
func (s *story) awaitTried(connecting *harness.Connecting, targets []harness.Target, times int) {
	s.Helper()
	before := connecting.Counts()
	s.eventually("connections of every client to every target", readyLimit, func(context.Context) string {
		now := connecting.Counts()
		for _, target := range targets {
			for _, client := range []string{"pgx", "psql", "pgbench"} {
				name := target.Name + " " + client
				if tried := now[name].Tried - before[name].Tried; tried < times {
					return fmt.Sprintf("%s: %d of %d", name, tried, times)
				}
			}
		}
		return ""
	})
}

// sessionsAreEncrypted as PostgreSQL itself sees them.
func (s *story) sessionsAreEncrypted(c *living) {
	s.Helper()
	const own = "select ssl, version, coalesce(client_dn, '') from pg_stat_ssl where pid = pg_backend_pid()"
	targets, err := c.Targets(s.Context())
	s.must(err)
	for _, target := range targets {
		rows, err := c.client.Query(s.Context(), harness.Login{Target: target}, own)
		s.must(err)
		wanted := "t|TLSv1.3|"
		if target.Name == "pgbouncer" {
			wanted = "t|TLSv1.3|/CN=_pgtlspgbouncer" // as the pooler, not the application, logs in
		}
		s.rowsAre("the session by "+target.Name, rows, wanted)
	}
	rows, err := c.client.AsPrimary(s.Context(), own)
	s.must(err)
	s.rowsAre("the operator's session", rows, "t|TLSv1.3|/CN=_pgtls")
}

func (s *story) replicasStreamWithCertificates(c *living) {
	s.Helper()
	rows, err := c.client.AsPrimary(s.Context(), "select state, ssl, client_dn from pg_stat_replication join pg_stat_ssl using (pid)")
	s.must(err)
	streaming := "streaming|t|/CN=_pgtlsrepl"
	s.rowsAre("replication as the primary sees it", rows, streaming, streaming)

	primary, err := c.Primary(s.Context())
	s.must(err)
	instances, err := c.Instances(s.Context())
	s.must(err)
	for _, pod := range instances {
		if pod.Name == primary.Name {
			continue
		}
		login := harness.Login{Target: c.InstanceTarget(pod.Name), AsOperator: true}
		rows, err := c.client.Query(s.Context(), login, "select status, conninfo like '%sslmode=verify-ca%' from pg_stat_wal_receiver")
		s.must(err)
		s.rowsAre("replication as "+pod.Name+" sees it", rows, "streaming|t")
	}
}

// poolersUseCertificates on both of their sides. The Service spreads sessions by chance, so more are opened until each pooler has some.
func (s *story) poolersUseCertificates(c *living) {
	s.Helper()
	poolers, err := c.Poolers(s.Context())
	s.must(err)
	for _, pod := range poolers {
		console, err := c.OpenConsole(s.Context(), pod.Name, images)
		s.must(err)
		s.eventually("a session through "+pod.Name, readyLimit, func(ctx context.Context) string {
			sessions, err := c.client.KeepSessions(ctx, []harness.Target{c.Service("pgbouncer")}, 6)
			if err != nil {
				return err.Error()
			}
			clients, err := console.Show(ctx, "clients")
			if err != nil || len(overNetwork(clients)) == 0 {
				return fmt.Sprintf("none is there: %v", errors.Join(err, sessions.Stop()))
			}
			servers, err := console.Show(ctx, "servers")
			s.must(err)
			s.connectionsAreTLS("PgBouncer "+pod.Name+" SHOW SERVERS", servers)
			s.connectionsAreTLS("PgBouncer "+pod.Name+" SHOW CLIENTS", clients)
			s.must(sessions.Stop())
			return ""
		})
	}
}

func overNetwork(rows []map[string]string) []map[string]string {
	return slices.DeleteFunc(slices.Clone(rows), func(row map[string]string) bool { return row["addr"] == "unix" })
}

func (s *story) connectionsAreTLS(what string, rows []map[string]string) {
	s.Helper()
	network := overNetwork(rows)
	if len(network) == 0 {
		s.Errorf("%s: no connection over the network to look at", what)
	}
	for _, row := range network {
		if !strings.HasPrefix(row["tls"], "TLSv1.3") {
			s.Errorf("%s: user %s from %s: tls is %q", what, row["user"], row["addr"], row["tls"])
		}
	}
}

func (s *story) plaintextIsRefused(c *living) {
	s.Helper()
	targets, err := c.Targets(s.Context())
	s.must(err)
	for _, target := range targets {
		rows, err := c.client.Query(s.Context(), harness.Login{Target: target, SSLMode: "disable"}, "select 1")
		if err == nil {
			s.Errorf("%s took a plaintext session: %v", target.Name, rows)
			continue
		}
		if refusal := err.Error(); !strings.Contains(refusal, "no encryption") && !strings.Contains(refusal, "SSL required") {
			s.Errorf("%s: plaintext failed for another reason: %s", target.Name, refusal)
		}
	}
	for _, port := range []int{8443, 8008} {
		for _, pod := range s.podsOf(c) {
			if out, err := c.client.Run(s.Context(), "loadgen", "request", fmt.Sprintf("http://%s:%d/healthz", pod.Status.PodIP, port)); err == nil && out != "400" {
				s.Errorf("port %d of %s answers plain HTTP with %s", port, pod.Name, out)
			}
		}
	}
}

// nothingChangesWithoutCertificate at the agents and the Patroni REST API. Reading Patroni's health is free.
func (s *story) nothingChangesWithoutCertificate(c *living) {
	s.Helper()
	instances, err := c.Instances(s.Context())
	s.must(err)
	for _, pod := range instances {
		host := c.InstanceTarget(pod.Name).Host
		patroni, agent := "https://"+host+":8008", "https://"+host+":8443"
		s.answers(c, "200", "GET", patroni+"/liveness")
		for _, change := range []string{"POST /restart", "POST /reload", "POST /reinitialize", "POST /switchover", "PATCH /config", "PUT /config", "DELETE /restart"} {
			method, path, _ := strings.Cut(change, " ")
			s.refuses(c, method, patroni+path)
		}
		s.refuses(c, "GET", agent+"/v1/report")
		s.answers(c, "200", "GET", agent+"/v1/report", "--cert=/operator/client.crt", "--key=/operator/client.key")
	}
}

func (s *story) answers(c *living, status, method, url string, arguments ...string) {
	s.Helper()
	out, err := c.client.Run(s.Context(), append([]string{"loadgen", "request", "--method", method, url}, arguments...)...)
	if err != nil || out != status {
		s.Errorf("%s %s answered %s %v, wanted %s", method, url, out, err, status)
	}
}

// refuses wants a refusal by the server: an answer of 401 or 403, or a TLS alert for the missing certificate.
func (s *story) refuses(c *living, method, url string) {
	s.Helper()
	out, err := c.client.Run(s.Context(), "loadgen", "request", "--method", method, url)
	switch {
	case err == nil && (out == "401" || out == "403"):
	case err != nil && strings.Contains(err.Error(), "certificate required"):
	default:
		s.Errorf("%s %s without a client certificate: answered %s %v, wanted a refusal", method, url, out, err)
	}
}

// rowsAre compares in any order.
func (s *story) rowsAre(what string, got []string, wanted ...string) {
	s.Helper()
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		s.Errorf("%s: %q, wanted %q", what, got, wanted)
	}
}
