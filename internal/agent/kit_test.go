package agent

import (
	"crypto/tls"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

// kit is a cluster's two authorities, from which tests draw material.
type kit struct {
	t              testing.TB
	server, client *pki.Authority
	start          time.Time
}

const day = 24 * time.Hour

// newKit makes authorities that have lived for an hour at start and will for two years.
func newKit(t testing.TB, start time.Time) *kit {
	t.Helper()
	return &kit{t: t, start: start, server: authority(t, "hippo server ca g1", start), client: authority(t, "hippo client ca g1", start)}
}

func authority(t testing.TB, name string, start time.Time) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: name, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(730 * day)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// material is files that tests may damage before they deliver them.
type material map[string][]byte

// lives says from when to when leaves are valid, counted from the kit's start.
type lives struct{ serverFrom, serverUntil, clientFrom, clientUntil time.Duration }

// ninety days for the server and thirty for the client, as by default.
func usual() lives {
	return lives{serverFrom: -10 * time.Minute, serverUntil: 90 * day, clientFrom: -10 * time.Minute, clientUntil: 30 * day}
}

func (k *kit) material(l lives) material {
	k.t.Helper()
	m := material{
		agentapi.ServerBundle: k.server.EncodeCertificate(),
		agentapi.ClientBundle: k.client.EncodeCertificate(),
	}
	m[agentapi.ServerCertificate], m[agentapi.ServerKey] = k.leaf(k.server, pki.LeafRequest{
		CommonName: "hippo-a-0-0", DNSNames: []string{"localhost"}, Usage: pki.ServerAuth,
		NotBefore: k.start.Add(l.serverFrom), NotAfter: k.start.Add(l.serverUntil),
	})
	m[agentapi.ClientCertificate], m[agentapi.ClientKey] = k.leaf(k.client, pki.LeafRequest{
		CommonName: agentapi.ReplicationIdentity, Usage: pki.ClientAuth,
		NotBefore: k.start.Add(l.clientFrom), NotAfter: k.start.Add(l.clientUntil),
	})
	return m.asOwn()
}

// asOwn has the process present what the agent presents: there is no custom certificate.
func (m material) asOwn() material {
	m[agentapi.ServedCertificate], m[agentapi.ServedKey] = m[agentapi.ServerCertificate], m[agentapi.ServerKey]
	m[agentapi.PresentedCertificate], m[agentapi.PresentedKey] = m[agentapi.ClientCertificate], m[agentapi.ClientKey]
	return m
}

func (k *kit) leaf(a *pki.Authority, r pki.LeafRequest) (chain, key []byte) {
	k.t.Helper()
	pair, err := a.Issue(r)
	if err != nil {
		k.t.Fatal(err)
	}
	key, err = pair.EncodeKey()
	if err != nil {
		k.t.Fatal(err)
	}
	return pair.EncodeChain(), key
}

// clientTLS is a client that presents a leaf of authority a for an identity. It does not look at the server.
func (k *kit) clientTLS(a *pki.Authority, identity string) *tls.Config {
	k.t.Helper()
	chain, key := k.leaf(a, pki.LeafRequest{CommonName: identity, Usage: pki.ClientAuth, NotBefore: k.start.Add(-time.Minute), NotAfter: k.start.Add(day)})
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		k.t.Fatal(err)
	}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
}

func (m material) revision() string { return pki.Revision(m) }

func (m material) parsed(t testing.TB) *Material {
	t.Helper()
	parsed, err := ParseMaterial(m)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// with returns a copy with one file replaced.
func (m material) with(name string, content []byte) material {
	c := maps.Clone(m)
	c[name] = content
	return c
}

// without returns a copy with one file missing.
func (m material) without(name string) material {
	c := maps.Clone(m)
	delete(c, name)
	return c
}

// volume is a directory that is swapped as the kubelet swaps it.
type volume struct {
	t   testing.TB
	dir string
	n   int
}

func newVolume(t testing.TB) *volume {
	t.Helper()
	return &volume{t: t, dir: t.TempDir()}
}

// deliver replaces all files at once: a new directory, then the link ..data by a rename, then the links of the files.
func (v *volume) deliver(files map[string][]byte) {
	v.t.Helper()
	v.n++
	old, _ := os.Readlink(filepath.Join(v.dir, kubeletLink))
	next := "..2026_" + strconv.Itoa(v.n)
	v.must(os.Mkdir(filepath.Join(v.dir, next), 0o755))
	for name, content := range files {
		v.must(os.WriteFile(filepath.Join(v.dir, next, name), content, 0o640))
	}
	v.must(os.Symlink(next, filepath.Join(v.dir, "..data_tmp")))
	v.must(os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, kubeletLink)))
	for name := range files {
		if _, err := os.Lstat(filepath.Join(v.dir, name)); err != nil {
			v.must(os.Symlink(filepath.Join(kubeletLink, name), filepath.Join(v.dir, name)))
		}
	}
	if old != "" {
		v.must(os.RemoveAll(filepath.Join(v.dir, old)))
	}
}

func (v *volume) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// ask delivers the annotation.
func (v *volume) ask(revision string) { v.deliver(map[string][]byte{"activate": []byte(revision)}) }

func (v *volume) activateFile() string { return filepath.Join(v.dir, "activate") }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
