package material

import (
	"bytes"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func TestWhatMaterialIsWorth(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	world, other := agenttest.NewAuthorities(t, tlstest.Hippo.Name, now), agenttest.NewAuthorities(t, tlstest.Hippo.Name, now)
	fresh := func(from agenttest.Authorities) map[string][]byte {
		return from.Material(t, from.Leaf(t, facts.Server, "hippo-a-0", tlstest.PodHost), from.Leaf(t, facts.Client, agentapi.ReplicationIdentity))
	}
	elsewhere := fresh(other)
	wants := []facts.LeafWant{{Domain: facts.Server}, {Domain: facts.Client}}
	type worth struct {
		server, client string // problem
		altered        bool
		anchors        int // bundles that can be read
	}
	cases := map[string]struct {
		damage func(d map[string][]byte)
		at     time.Time
		want   worth
	}{
		"sound":                  {want: worth{anchors: 2}},
		"empty":                  {damage: func(d map[string][]byte) { clear(d) }, want: worth{"NoCertificate", "NoCertificate", false, 0}},
		"server leaf garbled":    {damage: func(d map[string][]byte) { d[agentapi.ServerCertificate] = []byte("x") }, want: worth{server: "NotPEM", anchors: 2}},
		"server leaf cut off":    {damage: func(d map[string][]byte) { d[agentapi.ServerCertificate] = d[agentapi.ServerCertificate][:99] }, want: worth{server: "NotPEM", anchors: 2}},
		"client key gone":        {damage: func(d map[string][]byte) { delete(d, agentapi.ClientKey) }, want: worth{client: "KeyMissing", anchors: 2}},
		"client key of another":  {damage: func(d map[string][]byte) { d[agentapi.ClientKey] = elsewhere[agentapi.ClientKey] }, want: worth{client: "KeyMismatch", anchors: 2}},
		"keys swapped":           {damage: func(d map[string][]byte) { swap(d, agentapi.ServerKey, agentapi.ClientKey) }, want: worth{server: "KeyMismatch", client: "KeyMismatch", anchors: 2}},
		"a CA as leaf":           {damage: func(d map[string][]byte) { d[agentapi.ServerCertificate] = d[agentapi.ServerBundle] }, want: worth{server: "KeyMismatch", anchors: 2}},
		"server bundle gone":     {damage: func(d map[string][]byte) { delete(d, agentapi.ServerBundle) }, want: worth{anchors: 1}},
		"server bundle garbled":  {damage: func(d map[string][]byte) { d[agentapi.ServerBundle] = []byte("-----BEGIN") }, want: worth{anchors: 1}},
		"a leaf in the bundle":   {damage: func(d map[string][]byte) { d[agentapi.ServerBundle] = d[agentapi.ServerCertificate] }, want: worth{anchors: 1}},
		"bundle of another":      {damage: func(d map[string][]byte) { d[agentapi.ClientBundle] = elsewhere[agentapi.ClientBundle] }, want: worth{client: "UnknownAuthority", anchors: 2}},
		"pair of another":        {damage: func(d map[string][]byte) { copyPair(d, elsewhere, facts.Server) }, want: worth{server: "UnknownAuthority", anchors: 2}},
		"something added":        {damage: func(d map[string][]byte) { d["tls.crt"] = []byte("x") }, want: worth{altered: true, anchors: 2}},
		"an empty key added":     {damage: func(d map[string][]byte) { d["tls.crt"] = nil }, want: worth{altered: true, anchors: 2}},
		"used before its time":   {at: now.Add(-2 * time.Hour), want: worth{"NotYetValid", "NotYetValid", false, 2}},
		"used after its end":     {at: now.Add(200 * time.Hour), want: worth{"Expired", "Expired", false, 2}},
		"a space after the leaf": {damage: func(d map[string][]byte) { d[agentapi.ServerCertificate] = append(d[agentapi.ServerCertificate], '\n') }, want: worth{anchors: 2}},
		"bundle holds a stranger": {damage: func(d map[string][]byte) {
			d[agentapi.ServerBundle] = append(d[agentapi.ServerBundle], elsewhere[agentapi.ServerBundle]...)
		}, want: worth{anchors: 2}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			data := fresh(world)
			sound := pki.Revision(data)
			if c.damage != nil {
				c.damage(data)
			}
			at := now
			if !c.at.IsZero() {
				at = c.at
			}
			m := Inspect(&facts.Party{Kind: party.Instance, Wants: wants}, &corev1.Secret{Data: data}, at)
			got := worth{server: m.Leaves[0].Problem, client: m.Leaves[1].Problem, altered: m.Altered, anchors: parsed(&m)}
			if got != c.want {
				t.Errorf("worth %+v, want %+v", got, c.want)
			}
			if changed := m.Revision != sound; changed != (c.damage != nil) {
				t.Errorf("revision changed: %t", changed)
			}
			if m.State != facts.Present || m.Revision != pki.Revision(data) {
				t.Errorf("state %s, revision %s", m.State, m.Revision)
			}
		})
	}
}

func swap(d map[string][]byte, a, b string) { d[a], d[b] = d[b], d[a] }

func copyPair(to, from map[string][]byte, domain facts.Domain) {
	for _, key := range []string{party.Mounted.Leaf(domain).Certificate, party.Mounted.Leaf(domain).Key} {
		to[key] = bytes.Clone(from[key])
	}
}

// parsed counts the bundles that parse.
func parsed(m *facts.Material) (n int) {
	for _, domain := range facts.Domains() {
		if m.Anchors.Of(domain) != nil {
			n++
		}
	}
	return n
}

func TestThePartyDecidesWhatBelongsThere(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	world := agenttest.NewAuthorities(t, tlstest.Hippo.Name, now)
	client := world.Leaf(t, facts.Client, agentapi.OperatorIdentity)
	operator := &facts.Party{Kind: party.Operator, Wants: []facts.LeafWant{{Domain: facts.Client}}}
	if m := Inspect(operator, &corev1.Secret{Data: world.Material(t, nil, client)}, now); m.Altered || len(m.Leaves) != 1 || m.Leaves[0].Problem != "" {
		t.Errorf("the operator's material: %+v", m)
	}
	withServer := world.Material(t, world.Leaf(t, facts.Server, "x", tlstest.PodHost), client)
	if m := Inspect(operator, &corev1.Secret{Data: withServer}, now); !m.Altered {
		t.Error("a server leaf does not belong to the operator")
	}
}

func TestTheRequestThatMaterialAnswersIsReadFromIt(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{AnsweredAnnotation: "monday"}}}
	if m := Inspect(&facts.Party{Kind: party.Operator}, secret, time.Now()); m.Answered != "monday" {
		t.Errorf("answered %q", m.Answered)
	}
}

func TestAnchorsAreNamedInOneOrder(t *testing.T) {
	now := time.Now()
	a, b := agenttest.NewAuthorities(t, tlstest.Hippo.Name, now), agenttest.NewAuthorities(t, tlstest.Hippo.Name, now)
	one := slices.Concat(a[facts.Server].EncodeCertificate(), b[facts.Server].EncodeCertificate())
	two := slices.Concat(b[facts.Server].EncodeCertificate(), a[facts.Server].EncodeCertificate())
	read := func(bundle []byte) []string {
		return Inspect(&facts.Party{Kind: party.Operator}, &corev1.Secret{Data: map[string][]byte{agentapi.ServerBundle: bundle}}, now).Anchors.Server
	}
	if !slices.Equal(read(one), read(two)) || len(read(one)) != 2 {
		t.Errorf("%v and %v", read(one), read(two))
	}
}

func TestTheGenerationThatACertificateNames(t *testing.T) {
	for name, want := range map[string]int{
		"CN=hippo server ca g1": 1, "CN=hippo server ca g42": 42,
		"CN=hippo server ca g": 0, "CN=hippo server ca gx": 0, "CN=hippo server ca g-1": 0, "CN=hippo server ca g0": 0,
		"CN=hippo client ca g1": 0, "CN=rhino server ca g1": 0, "hippo server ca g1": 0, "": 0,
	} {
		if got := GenerationNamed("hippo", facts.Server, name); got != want {
			t.Errorf("%q names generation %d, want %d", name, got, want)
		}
	}
}

func TestNamesOfAuthorities(t *testing.T) {
	type found struct {
		Domain     facts.Domain
		Generation int
	}
	for name, want := range map[string]found{
		"hippo-server-ca-g1":      {facts.Server, 1},
		"hippo-client-ca-g12":     {facts.Client, 12},
		"hippo-client-ca-g2-copy": {facts.Client, 2},
		"hippo-server-ca-g01":     {},
		"hippo-server-ca-g0":      {},
		"hippo-server-ca-g":       {},
		"hippo-server-ca-g-1":     {},
		"hippo-server-ca-g1-tls":  {},
		"hippo-other-ca-g1":       {},
		"rhino-server-ca-g1":      {},
		"hippo-operator-tls":      {},
		"":                        {},
	} {
		domain, generation := AuthorityNamed("hippo", name)
		if got := (found{domain, generation}); got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
	}
}
