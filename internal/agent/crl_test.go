package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

func TestListsAreForAllIssuersOrNone(t *testing.T) {
	k := newKit(t, noon)
	good, stranger := k.material(usual()), authority(t, "stranger", noon)
	other := authority(t, "hippo client ca g2", noon)
	both := good.with(agentapi.ClientBundle, append(other.EncodeCertificate(), k.client.EncodeCertificate()...))
	tests := []struct {
		name   string
		files  material
		reason pki.Reason
	}{
		{"nothing revoked", good.with(agentapi.RevocationLists, k.list(k.client)), ""},
		{"a list of each", both.with(agentapi.RevocationLists, append(k.list(k.client), k.list(other)...)), ""},
		{"a list too many", good.with(agentapi.RevocationLists, append(k.list(k.client), k.list(stranger)...)), ""},
		{"a list of one of two", both.with(agentapi.RevocationLists, k.list(other)), pki.RevocationListMissing},
		{"a stranger's list", good.with(agentapi.RevocationLists, k.list(stranger)), pki.RevocationListMissing},
		{"an empty file", good.with(agentapi.RevocationLists, nil), pki.RevocationListMissing},
		{"garbage", good.with(agentapi.RevocationLists, []byte("garbage")), pki.NotPEM},
		{"in place of a file", good.with(agentapi.RevocationLists, k.list(k.client)).without(agentapi.ServerKey), pki.NoCertificate},
		{"and another file", good.with(agentapi.RevocationLists, k.list(k.client)).with("tls.crt", nil), pki.UnexpectedBlock},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := ParseMaterial(test.files)
			if err == nil {
				err = m.Verify(noon)
			}
			if got := pki.ReasonOf(err); got != test.reason || err != nil && test.reason == "" {
				t.Errorf("reason %q, want %q: %v", got, test.reason, err)
			}
		})
	}
}

func TestARevisionThatRevokesSaysSoToPostgreSQL(t *testing.T) {
	k, s := newKit(t, noon), &store{dir: t.TempDir()}
	plain := k.material(usual())
	without, with := plain.parsed(t), plain.with(agentapi.RevocationLists, k.list(k.client)).parsed(t)
	settings := filepath.Join(s.dir, currentLink, settingsFile)

	mustInstall(t, s, without)
	if text, err := os.ReadFile(settings); err != nil || !strings.HasPrefix(string(text), "#") {
		t.Errorf("a revision without lists sets %q (%v)", text, err)
	}
	mustInstall(t, s, with)
	text, err := os.ReadFile(settings)
	if want := "ssl_crl_file = '" + filepath.Join(s.dir, currentLink, agentapi.RevocationLists) + "'\n"; err != nil || string(text) != want {
		t.Errorf("the settings are %q (%v), want %q", text, err, want)
	}
	if s.current() == nil || s.current().Revision != with.Revision {
		t.Error("the settings count as one of the material's files")
	}
	if err := os.Remove(settings); err != nil {
		t.Fatal(err)
	}
	if s.current() != nil {
		t.Error("a revision that revokes, and does not say so, counts as intact")
	}
	mustInstall(t, s, with)
	if s.current() == nil {
		t.Error("it is not written anew")
	}
}

func TestRevocationSettingsStandWhereThePodLooksForThem(t *testing.T) {
	if want := filepath.Join(agentapi.ActiveDir, currentLink, settingsFile); agentapi.RevocationSettings != want {
		t.Errorf("PostgreSQL includes %s, the agent writes %s", agentapi.RevocationSettings, want)
	}
}
