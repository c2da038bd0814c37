package tls

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// brought is a Secret of the user's.
const brought = "company-tls"

// company makes an authority that is not the cluster's.
func company(t *testing.T, name string) *pki.Authority {
	t.Helper()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	authority, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: name, NotBefore: at, NotAfter: at.Add(10 * 365 * 24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// hostsOfHippo are those that a certificate of PostgreSQL, or of PgBouncer, is to be for.
var hostsOfHippo = []string{"hippo-primary.zoo.svc", "hippo-replicas.zoo.svc", "hippo-pgbouncer.zoo.svc"}

// leafOf issues a certificate for a slot, valid from an hour ago for 60 days.
func (h *fixture) leafOf(a *pki.Authority, s wanted.Slot) *pki.KeyPair {
	h.t.Helper()
	request := pki.LeafRequest{
		CommonName: "db.company.example", DNSNames: hostsOfHippo, Usage: s.Domain.Usage(),
		NotBefore: h.clock().Add(-time.Hour), NotAfter: h.clock().Add(60 * 24 * time.Hour),
	}
	if s.Domain == facts.Client {
		request.CommonName, request.DNSNames = agentapi.ReplicationIdentity, nil
	}
	pair, err := a.Issue(request)
	if err != nil {
		h.t.Fatal(err)
	}
	return pair
}

// filesOf is what stands in a Secret with a pair, and with what its authority is called.
func filesOf(t *testing.T, pair *pki.KeyPair, authorities ...*pki.Authority) map[string][]byte {
	t.Helper()
	key, err := pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{"tls.crt": pair.EncodeChain(), "tls.key": key}
	for _, a := range authorities {
		data["ca.crt"] = append(data["ca.crt"], a.EncodeCertificate()...)
	}
	return data
}

// put is kubectl apply of a user's Secret.
func (h *fixture) put(name string, data map[string][]byte) {
	h.t.Helper()
	var secret corev1.Secret
	err := h.client.Get(h.t.Context(), h.key(name), &secret)
	if err != nil {
		secret = corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: name}, Data: data}
		err = h.client.Create(h.t.Context(), &secret)
	} else {
		secret.Data = data
		err = h.client.Update(h.t.Context(), &secret)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if h.theirs == nil {
		h.theirs = map[string]string{}
	}
	h.theirs[name] = secret.ResourceVersion
}

// bring puts a certificate of an authority into the user's Secret, and returns it.
func (h *fixture) bring(s wanted.Slot, a *pki.Authority) *pki.KeyPair {
	h.t.Helper()
	pair := h.leafOf(a, s)
	h.put(brought, filesOf(h.t, pair, a))
	return pair
}

var serverSlot, replicationSlot, poolerSlot = wanted.Slots()[0], wanted.Slots()[1], wanted.Slots()[2]

// naming has the spec name a Secret in a slot; "": none.
func naming(s wanted.Slot, name string, items ...corev1.KeyToPath) func(*v1beta1.PostgresCluster) {
	return func(c *v1beta1.PostgresCluster) {
		var projection *corev1.SecretProjection
		if name != "" {
			projection = &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}
		}
		switch s.Condition {
		case serverSlot.Condition:
			c.Spec.CustomTLSSecret = projection
		case replicationSlot.Condition:
			c.Spec.CustomReplicationTLSSecret = projection
		default:
			c.Spec.Proxy.PGBouncer.CustomTLSSecret = projection
		}
	}
}

// adoption sets spec.tls: a policy, no soak.
func adoption(policy string) func(*v1beta1.PostgresCluster) {
	return func(c *v1beta1.PostgresCluster) {
		soaking("0s")(c)
		c.Spec.TLS.Adoption = policy
	}
}

// onTheWay brings every pod to what it is asked for, until no pod is asked for anything and nothing is written. At each
// moment one pod is asked at most, whatever is served is accepted by every verifier, and the user's Secrets are not written to.
// It returns the pods that were asked, in order.
func (h *fixture) onTheWay(pods map[string]*simPod) (order []string) {
	h.t.Helper()
	for range 100 {
		asked := h.podActions(pods)
		h.everybodyIsAccepted(pods)
		h.theirsAreUntouched()
		if len(asked) == 0 && len(h.writes) == 0 {
			return order
		}
		if len(asked) > 1 {
			h.t.Fatalf("asked at once: %v", asked)
		}
		for _, name := range asked {
			order = append(order, name)
			pods[name].install()
		}
	}
	h.t.Fatalf("did not converge: %v, waiting for %+v", h.writes, h.cluster().Status.TLS.Blockers)
	return nil
}

// everybodyIsAccepted: what each process serves is accepted by a verifier with what any other pod has loaded, and by a client that follows the ConfigMap.
func (h *fixture) everybodyIsAccepted(pods map[string]*simPod) {
	h.t.Helper()
	bundles := map[string][]byte{"the ConfigMap": []byte(h.public())}
	for name, p := range pods {
		bundles[name] = p.agent.Data()[agentapi.ServerBundle]
	}
	judged := map[string]bool{} // the same chain before the same bundle has the same verdict
	for name, p := range pods {
		for holder, bundle := range bundles {
			pair := string(bundle) + string(p.process.EncodeChain())
			if judged[pair] {
				continue
			}
			judged[pair] = true
			held, err := pki.ParseBundle(bundle)
			if err != nil {
				h.t.Fatal(err)
			}
			if err := pki.Verify(pki.VerifyRequest{Chain: p.process.Chain, Anchors: held, At: h.clock(), Usage: pki.ServerAuth}); err != nil {
				h.t.Errorf("%s refuses what %s serves: %v", holder, name, err)
			}
		}
	}
}

func (h *fixture) public() string {
	h.t.Helper()
	var config corev1.ConfigMap
	if err := h.client.Get(h.t.Context(), h.key(desired.CAConfigMap(tlstest.Hippo.Name)), &config); err != nil {
		h.t.Fatal(err)
	}
	return config.Data["ca.crt"]
}

func (h *fixture) theirsAreUntouched() {
	h.t.Helper()
	stored := h.stored()
	for name, version := range h.theirs {
		if stored[name] != nil && stored[name].ResourceVersion != version {
			h.t.Errorf("Secret %s is the user's, and was written to", name)
		}
	}
}

// follow lets clients that follow the ConfigMap do so.
func (h *fixture) follow() { h.pass(wanted.TrustPropagationDelay + time.Second) }

// conditionOf is what the status says of a slot; empty when it says nothing.
func (h *fixture) conditionOf(kind string) metav1.Condition {
	h.t.Helper()
	if c := meta.FindStatusCondition(h.cluster().Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// wants checks a condition: status, reason, and what the message says.
func (h *fixture) wants(kind string, status metav1.ConditionStatus, code string, says ...string) {
	h.t.Helper()
	c := h.conditionOf(kind)
	if c.Status != status || c.Reason != code {
		h.t.Errorf("%s is %s, %s: %s; want %s, %s", kind, c.Status, c.Reason, c.Message, status, code)
	}
	for _, text := range says {
		if !strings.Contains(c.Message, text) {
			h.t.Errorf("%s does not say %q: %s", kind, text, c.Message)
		}
	}
}

// served reports whether the material of a party has its process present a pair.
func (h *fixture) served(name string, s wanted.Slot, pair *pki.KeyPair) bool {
	h.t.Helper()
	return bytes.Equal(h.secret(name).Data[party.Mounted.Process(s.Domain).Certificate], pair.EncodeChain())
}

// ownServed reports whether a party's process presents the party's own leaf.
func (h *fixture) ownServed(name string, s wanted.Slot) bool {
	h.t.Helper()
	data := h.secret(name).Data
	return bytes.Equal(data[party.Mounted.Process(s.Domain).Certificate], data[party.Mounted.Leaf(s.Domain).Certificate])
}

// serving are the pods that serve a pair.
func serversOf(pods map[string]*simPod, pair *pki.KeyPair) (names []string) {
	for _, name := range tlstest.SortedKeys(pods) {
		if pods[name].process.Leaf().Equal(pair.Leaf()) {
			names = append(names, name)
		}
	}
	return names
}

// trusted reports whether the bundles of a domain hold an authority: all, or none, or some of them.
func (h *fixture) trusted(domain facts.Domain, a *pki.Authority) string {
	h.t.Helper()
	yes, no := 0, 0
	count := func(bundle []byte) {
		if bytes.Contains(bundle, a.EncodeCertificate()) {
			yes++
		} else {
			no++
		}
	}
	for name, secret := range h.stored() {
		if strings.HasSuffix(name, "-tls") && metav1.IsControlledBy(secret, h.cluster()) {
			count(secret.Data[party.Mounted.Bundle(domain)])
		}
	}
	if domain == facts.Server {
		count([]byte(h.public()))
	}
	switch {
	case no == 0:
		return "all"
	case yes == 0:
		return "none"
	}
	return "some"
}

// recorded are the keys of the record.
func (h *fixture) recorded() []string {
	h.t.Helper()
	if record := h.stored()[desired.TrustRecord(tlstest.Hippo.Name)]; record != nil {
		return tlstest.SortedKeys(record.Data)
	}
	return nil
}

// eventsOf are the events that have come with a reason since the last call of events.
func eventsOf(all []string, code string) (out []string) {
	for _, e := range all {
		if fields := strings.Fields(e); len(fields) > 1 && fields[1] == code {
			out = append(out, e)
		}
	}
	return out
}

// adopted is a fixture whose PostgreSQL, or whatever the slot is, presents what the user brought.
func adopted(t *testing.T, s wanted.Slot, a *pki.Authority) (*fixture, map[string]*simPod, *pki.KeyPair) {
	t.Helper()
	h, pods := hippos(t)
	pair := h.bring(s, a)
	h.change(adoption(""))
	h.change(naming(s, brought))
	h.onTheWay(pods)
	h.follow()
	h.onTheWay(pods)
	h.wants(s.Condition, metav1.ConditionTrue, "Presented")
	h.events()
	return h, pods, pair
}

// instancePods are the pods of PostgreSQL in order.
var instancePods = []string{"hippo-a-0-0", "hippo-a-1-0", "hippo-a-2-0"}
