package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
)

const (
	binaries  = "/usr/lib/postgresql/current/bin/"
	reloading = "received SIGHUP, reloading configuration files"
	stale     = "SSL configuration was not reloaded"
)

// hba lets replication in by certificate, as pgtls does, and applications by password: that binds the channel.
const hba = `local all all trust
hostssl all _pgtlsrepl 127.0.0.1/32 cert map=replication
hostssl replication _pgtlsrepl 127.0.0.1/32 cert map=replication
hostssl all app 127.0.0.1/32 scram-sha-256
hostnossl all pooled 127.0.0.1/32 trust
`

func (b *bench) startDatabase(ctx context.Context) error {
	data := scratch + "/data"
	out, err := b.database.command(ctx, binaries+"initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	ident := ""
	for _, name := range []string{"_pgtlsrepl", "_crunchyrepl"} {
		ident += "replication " + name + " _pgtlsrepl\n"
	}
	err = b.database.writeAll(map[string][]byte{
		"data/pg_hba.conf": []byte(hba), "data/pg_ident.conf": []byte(ident), "data/postgresql.conf": []byte(b.settings()),
	})
	if err != nil {
		return err
	}
	if err := b.load(b.ownMaterial(), b.ownRoot.EncodeCertificate()); err != nil {
		return err
	}
	log, err := os.Create(b.database.path("log"))
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own
	server := b.database.command(context.WithoutCancel(ctx), binaries+"postgres", "-D", data)
	server.SysProcAttr.Pdeathsig = syscall.SIGQUIT // so that its children end too
	server.Stdout, server.Stderr = log, log
	if b.server, err = start(server); err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return b.makeRoles(ctx)
}

func (b *bench) settings() string {
	file := func(name string) string { return scratch + "/server/" + name }
	return fmt.Sprintf(`listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = '%s'
dynamic_shared_memory_type = mmap
shared_buffers = 16MB
max_connections = 20
fsync = off
ssl = on
ssl_cert_file = '%s'
ssl_key_file = '%s'
ssl_ca_file = '%s'
ssl_min_protocol_version = TLSv1.3
`, b.databasePort, scratch, file(custom.CertificateFile), file(custom.KeyFile), file(custom.AuthorityFile))
}

func (b *bench) makeRoles(ctx context.Context) error {
	admin := fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", scratch, b.databasePort)
	var v verdict
	up := await(ctx, b.server.ended, 30*time.Second, func() bool {
		v = b.connect(ctx, admin, "select 1")
		return v.works
	})
	if !up {
		return fmt.Errorf("PostgreSQL does not come up: %s\n%s", v.how, b.log())
	}
	v = b.connect(ctx, admin, "create role app login password '"+password+"'; create role pooled login; create role _pgtlsrepl login replication")
	if !v.works {
		return fmt.Errorf("making roles: %s", v.how)
	}
	return nil
}

func (b *bench) log() string {
	text, err := os.ReadFile(b.database.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// load writes what PostgreSQL reads.
func (b *bench) load(m material, clients []byte) error {
	return b.database.writeAll(map[string][]byte{
		"server/" + custom.CertificateFile: m.certificate, "server/" + custom.KeyFile: m.key, "server/" + custom.AuthorityFile: clients,
	})
}

// reload returns what PostgreSQL says when it keeps what it had: only its log tells.
func (b *bench) reload(ctx context.Context) (kept string, err error) {
	before := len(b.log())
	if err := b.server.command.Process.Signal(syscall.SIGHUP); err != nil {
		return "", fmt.Errorf("reloading PostgreSQL: %w", err)
	}
	if !await(ctx, b.server.ended, 10*time.Second, func() bool { return strings.Contains(b.log()[before:], reloading) }) {
		return "", fmt.Errorf("PostgreSQL does not reload:\n%s", b.log())
	}
	// The postmaster takes connections only when it has done with the signal, so an answer means that the log is complete.
	if v := b.connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", scratch, b.databasePort), "select 1"); !v.works {
		return "", fmt.Errorf("PostgreSQL does not answer: %s", v.how)
	}
	if said := b.log()[before:]; strings.Contains(said, stale) {
		return said, nil
	}
	return "", nil
}

// tryServer has PostgreSQL present the material, and libpq verify it with the trust.
func (b *bench) tryServer(ctx context.Context, names []string, m material) (verdict, error) {
	if err := b.load(m, b.ownRoot.EncodeCertificate()); err != nil {
		return verdict{}, err
	}
	if err := b.database.write("client/root.crt", orNone(m.trust)); err != nil {
		return verdict{}, err
	}
	kept, err := b.reload(ctx)
	if err != nil || kept != "" {
		return fails("PostgreSQL keeps what it had: %s", kept), err
	}
	v := b.connectAs(ctx, names, b.databasePort, scratch+"/client/root.crt")
	if v.works {
		return b.compareServed(v, m)
	}
	return v, nil
}

// compareServed makes sure that it was this leaf that libpq has verified.
func (b *bench) compareServed(v verdict, m material) (verdict, error) {
	served, err := servedLeaf(fmt.Sprintf("127.0.0.1:%d", b.databasePort))
	if err != nil {
		return verdict{}, err
	}
	if first, _ := pem.Decode(m.certificate[max(0, bytes.Index(m.certificate, []byte("-----BEGIN"))):]); first == nil || !bytes.Equal(first.Bytes, served) {
		return fails("another leaf is served"), nil
	}
	return v, nil
}

// tryReplication has libpq present the material to PostgreSQL, which verifies it with the trust.
func (b *bench) tryReplication(ctx context.Context, m material) (verdict, error) {
	if err := b.load(b.ownMaterial(), m.trust); err != nil {
		return verdict{}, err
	}
	err := b.database.writeAll(map[string][]byte{
		"client/" + custom.CertificateFile: m.certificate, "client/" + custom.KeyFile: m.key, "client/root.crt": pki.EncodeBundle(append(b.own.Chain[:0:0], b.ownRoot.Certificate)),
	})
	if err != nil {
		return verdict{}, err
	}
	kept, err := b.reload(ctx)
	if err != nil || kept != "" {
		return fails("PostgreSQL keeps what it had: %s", kept), err
	}
	file := func(name string) string { return scratch + "/client/" + name }
	return b.connect(ctx, fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=_pgtlsrepl dbname=postgres replication=true connect_timeout=10 sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s",
		b.databasePort, file("root.crt"), file(custom.CertificateFile), file(custom.KeyFile)), "IDENTIFY_SYSTEM"), nil
}

// orNone: a client without anchors has no file, and not an empty one.
func orNone(text []byte) []byte {
	if len(text) == 0 {
		return nil
	}
	return text
}
