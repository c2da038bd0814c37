package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
)

const password = "not-a-secret"

// bench is one PostgreSQL that is reloaded for each case, and a PgBouncer per case before it.
type bench struct {
	database, pooler         image
	databasePort, poolerPort int
	server                   *daemon
	own                      *pki.KeyPair // what PostgreSQL presents to the clients of replication cases
	ownRoot                  *pki.Authority
}

func newBench(ctx context.Context, database, pooler string) (*bench, error) {
	b := &bench{database: image{database}, pooler: image{pooler}}
	var err error
	if b.databasePort, err = freePort(); err != nil {
		return nil, err
	}
	if b.poolerPort, err = freePort(); err != nil {
		return nil, err
	}
	if err := b.issueOwn(time.Now()); err != nil {
		return nil, err
	}
	if err := b.database.prepare("server", "client", "pooled"); err != nil {
		return nil, err
	}
	if err := b.pooler.prepare(); err != nil {
		return nil, err
	}
	if err := b.startDatabase(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) issueOwn(now time.Time) error {
	var err error
	b.ownRoot, err = pki.NewAuthority(pki.AuthorityRequest{CommonName: "corpus", NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)})
	if err != nil {
		return err
	}
	b.own, err = b.ownRoot.Issue(pki.LeafRequest{DNSNames: []string{"localhost"}, Usage: pki.ServerAuth, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	return err
}

func (b *bench) ownMaterial() material {
	return encoded(&custom.Certificate{Pair: b.own})
}

// close ends what is still running and removes what it has written.
func (b *bench) close() {
	if b.server != nil {
		b.server.stop(syscall.SIGQUIT)
	}
	_ = os.RemoveAll(b.database.path(""))
	_ = os.RemoveAll(b.pooler.path(""))
}

// try gives the material to the program that the role names, and connects through libpq as its counterpart does.
func (b *bench) try(ctx context.Context, in custom.Input, m material) verdict {
	var v verdict
	var err error
	switch in.Role {
	case custom.Instance:
		v, err = b.tryServer(ctx, in.Names, m)
	case custom.Pooler:
		v, err = b.tryPooler(ctx, in.Names, m)
	case custom.Replication:
		v, err = b.tryReplication(ctx, m)
	}
	if err != nil {
		return verdict{broken: err}
	}
	return v
}

// connect runs psql with a libpq connection string. What it says in failing is the how.
func (b *bench) connect(ctx context.Context, connection, sql string) verdict {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	psql := b.database.command(ctx, binaries+"psql", "-X", "-A", "-t", "-q", "-w", "-d", connection, "-c", sql)
	out, err := psql.CombinedOutput()
	if err != nil {
		return fails("libpq: %s", bytes.TrimSpace(out))
	}
	return verdict{works: true, how: strings.TrimSpace(string(out))}
}

// connectAs verifies a server under each of its names.
func (b *bench) connectAs(ctx context.Context, names []string, port int, trust string) verdict {
	v := verdict{how: "it has no name"}
	for _, name := range names {
		v = b.connect(ctx, fmt.Sprintf("host=%s hostaddr=127.0.0.1 port=%d user=app password=%s dbname=postgres connect_timeout=10 sslmode=verify-full sslrootcert=%s",
			name, port, password, trust), "select 1")
		if !v.works {
			return fails("%s: %s", name, v.how)
		}
	}
	return v
}
