package agent

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLoopbackPairIsMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	first, err := ensureLoopbackPair(dir, noon)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ensureLoopbackPair(dir, noon.Add(time.Hour))
	if err != nil || !bytes.Equal(first.Certificate[0], second.Certificate[0]) {
		t.Errorf("a restarted agent has another pair than Patroni (%v)", err)
	}
	leaf, err := x509.ParseCertificate(first.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if leaf.NotAfter.Before(noon.Add(9 * 365 * day)) {
		t.Errorf("it ends at %v", leaf.NotAfter)
	}
	if info, err := os.Stat(filepath.Join(dir, "loopback.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
}

func TestADamagedLoopbackPairIsMadeAnew(t *testing.T) {
	for _, name := range []string{"loopback.crt", "loopback.key"} {
		dir := t.TempDir()
		first, err := ensureLoopbackPair(dir, noon)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		second, err := ensureLoopbackPair(dir, noon)
		if err != nil || bytes.Equal(first.Certificate[0], second.Certificate[0]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ensureLoopbackPair(filepath.Join(t.TempDir(), "missing"), noon); err == nil {
		t.Error("a directory that is not there is no error")
	}
}
