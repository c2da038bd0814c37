package agent

import (
	"bytes"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

func TestMaterialIsRefusedWithItsReason(t *testing.T) {
	k := newKit(t, noon)
	good, other := k.material(usual()), k.material(usual())
	foreign := newKit(t, noon).material(usual())
	expired := usual()
	expired.serverFrom, expired.serverUntil = -30*time.Minute, -time.Minute
	early := usual()
	early.clientFrom = time.Hour
	tests := []struct {
		name   string
		files  material
		reason pki.Reason
	}{
		{"good", good, ""},
		{"nothing", material{}, pki.NoCertificate},
		{"no server bundle", good.without(agentapi.ServerBundle), pki.NoCertificate},
		{"no client key", good.without(agentapi.ClientKey), pki.NoCertificate},
		{"one file too many", good.with("tls.crt", nil), pki.UnexpectedBlock},
		{"blank certificate", good.with(agentapi.ServerCertificate, nil), pki.NoCertificate},
		{"blank key", good.with(agentapi.ServerKey, []byte("\n")), pki.KeyMissing},
		{"garbled certificate", good.with(agentapi.ClientCertificate, []byte("garbage")), pki.NotPEM},
		{"cut certificate", good.with(agentapi.ServerCertificate, good[agentapi.ServerCertificate][:200]), pki.NotPEM},
		{"another server key", good.with(agentapi.ServerKey, other[agentapi.ServerKey]), pki.KeyMismatch},
		{"another client key", good.with(agentapi.ClientKey, other[agentapi.ClientKey]), pki.KeyMismatch},
		{"blank bundle", good.with(agentapi.ClientBundle, nil), pki.NoCertificate},
		{"leaf as bundle", good.with(agentapi.ClientBundle, good[agentapi.ClientCertificate]), pki.NotCA},
		{"key in bundle", good.with(agentapi.ServerBundle, append(bytes.Clone(good[agentapi.ServerBundle]), good[agentapi.ServerKey]...)), pki.UnexpectedBlock},
		{"bundle of another cluster", good.with(agentapi.ServerBundle, foreign[agentapi.ServerBundle]), pki.UnknownAuthority},
		{"client bundle of another cluster", good.with(agentapi.ClientBundle, foreign[agentapi.ClientBundle]), pki.UnknownAuthority},
		{"bundles exchanged", good.with(agentapi.ServerBundle, good[agentapi.ClientBundle]), pki.UnknownAuthority},
		{"expired server leaf", k.material(expired), pki.Expired},
		{"client leaf of tomorrow", k.material(early), pki.NotYetValid},
		{"client pair as server pair", good.with(agentapi.ServerCertificate, good[agentapi.ClientCertificate]).with(agentapi.ServerKey, good[agentapi.ClientKey]).with(agentapi.ServerBundle, good[agentapi.ClientBundle]), pki.UsageMissing},
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

func TestCandidateOfMaterial(t *testing.T) {
	k := newKit(t, noon)
	c := k.material(usual()).parsed(t).candidate(noon)
	if !c.Server.Until.Equal(noon.Add(90*day)) || !c.Client.Until.Equal(noon.Add(30*day)) || c.Refusal != nil {
		t.Errorf("candidate is %+v", c)
	}
	if c := k.material(usual()).parsed(t).candidate(noon.Add(40 * day)); pki.ReasonOf(c.Refusal) != pki.Expired {
		t.Errorf("after 40 days: %v", c.Refusal)
	}
}

// Whatever is mounted, the agent neither crashes nor takes what does not fit together.
func FuzzParseMaterial(f *testing.F) {
	k := newKit(f, noon)
	good := k.material(usual())
	f.Add(good[agentapi.ServerCertificate], good[agentapi.ServerKey], good[agentapi.ServerBundle])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte{}, []byte("x"))
	f.Fuzz(func(t *testing.T, certificate, key, bundle []byte) {
		files := good.with(agentapi.ServerCertificate, certificate).with(agentapi.ServerKey, key).with(agentapi.ServerBundle, bundle)
		m, err := ParseMaterial(files)
		if err != nil {
			if pki.ReasonOf(err) == "" {
				t.Errorf("refused without a reason: %v", err)
			}
			return
		}
		if m.Revision != pki.Revision(files) || len(m.Server.Chain) == 0 || len(m.ServerAnchors) == 0 {
			t.Errorf("taken without chain or anchors")
		}
	})
}
