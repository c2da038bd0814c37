package tls

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// processFiles are the keys of a material Secret that hold what the process beside the agent presents in a domain.
var processFiles = map[rotation.Domain]struct{ certificate, key string }{
	rotation.Server: {agentapi.ServedCertificate, agentapi.ServedKey},
	rotation.Client: {agentapi.PresentedCertificate, agentapi.PresentedKey},
}

// slot is a place for a custom certificate.
type slot struct {
	role       custom.Role
	kind       rotation.Kind
	domain     rotation.Domain
	condition  string
	issued     certmanager.Role // where an issuer fills it
	projection func(*v1beta1.PostgresCluster) *corev1.SecretProjection
}

// slots are all of them. The server's comes before the replicas', who may lean on its ca.crt.
var slots = []slot{
	{custom.Instance, rotation.Instance, rotation.Server, "CustomCertificateServer", certmanager.InstancesRole, func(c *v1beta1.PostgresCluster) *corev1.SecretProjection {
		return c.Spec.CustomTLSSecret
	}},
	{custom.Replication, rotation.Instance, rotation.Client, "CustomCertificateReplication", certmanager.ReplicationRole, func(c *v1beta1.PostgresCluster) *corev1.SecretProjection {
		return c.Spec.CustomReplicationTLSSecret
	}},
	{custom.Pooler, rotation.Pooler, rotation.Server, "CustomCertificatePGBouncer", certmanager.PGBouncerRole, func(c *v1beta1.PostgresCluster) *corev1.SecretProjection {
		if pooler := desired.Pooler(c); pooler != nil {
			return pooler.CustomTLSSecret
		}
		return nil
	}},
}

// Findings besides those of package custom.
const (
	sourceMissing     custom.Reason = "SourceMissing"     // there is no Secret or ConfigMap of that name, or it lacks the key
	sourceUnreadable  custom.Reason = "SourceUnreadable"  // it could not be read
	sourceReserved    custom.Reason = "SourceReserved"    // the operator itself writes it
	awaitingIssuer    custom.Reason = "AwaitingIssuer"    // cert-manager has not filled the Secret yet
	issuerUnavailable custom.Reason = "IssuerUnavailable" // there is no cert-manager
	recordForeign                   = custom.Reason(rotation.ForeignSecret)
	anchorReserved    custom.Reason = "AnchorReserved"  // it bears the name of one of the cluster's own authorities
	anchorAmbiguous   custom.Reason = "AnchorAmbiguous" // beside it verifiers would refuse what another one has issued
)

// presented is a custom certificate with everything that is needed to present it.
type presented struct {
	slot     slot
	source   string // how it is called; "" for one of before
	pair     *pki.KeyPair
	anchors  []*x509.Certificate // that come with it
	findings []custom.Finding
	accepted bool // what the Secret holds now was accepted
	gone     bool // the spec wants none, and the Certificate that was asked for could not be taken back
	facts    *rotation.Custom
}

// observeCustoms reads and checks every certificate that the spec names, and says what each party is to present. What is
// refused changes nothing: what is presented already goes on being presented.
func (r *Reconciler) observeCustoms(ctx context.Context, v *view) {
	trust := map[rotation.Domain][]*x509.Certificate{}
	for _, domain := range rotation.Domains() {
		trust[domain] = r.additionalTrust(ctx, v, domain)
	}
	var peer []*x509.Certificate
	for _, s := range slots {
		if s.source(v.cluster) == nil {
			continue
		}
		p := r.readCustom(ctx, v, s, trust[s.domain], peer)
		if s.role == custom.Instance && p.accepted {
			peer = p.anchors
		}
		v.customs = append(v.customs, p)
	}
	for i := range v.observed.Parties {
		v.wantCustoms(&v.observed.Parties[i])
	}
	v.observed.Foreign = v.foreignFacts()
	for _, a := range v.foreign {
		v.certificates[a.facts.Fingerprint] = a.certificate
	}
}

// readCustom reads one Secret, and falls back on what is presented already.
func (r *Reconciler) readCustom(ctx context.Context, v *view, s slot, trust, peer []*x509.Certificate) *presented {
	projection := s.source(v.cluster)
	p := &presented{slot: s, source: "Secret " + projection.Name}
	secret, finding := r.readSource(ctx, v, secretKind, projection.Name)
	if finding != nil {
		p.findings = []custom.Finding{*finding}
		if issuer := s.issuer(v.cluster); issuer != nil && finding.Reason == sourceMissing {
			p.findings = []custom.Finding{r.awaited(ctx, v, s, issuer)}
		}
	} else {
		input := r.inputFor(v, s, projection, secret)
		input.Trust, input.PeerTrust = trust, peer
		var certificate *custom.Certificate
		if certificate, p.findings = custom.Check(input); certificate != nil {
			p.pair, p.anchors, p.accepted = certificate.Pair, certificate.Anchors, true
		}
	}
	if p.accepted && v.unfit(s.domain, p) {
		p.accepted = false
	}
	if !p.accepted {
		v.hold(s.domain)
		v.lastGood(p)
	}
	if p.pair == nil {
		return p
	}
	for _, a := range p.anchors {
		v.anchor(s.domain, a).facts.Wanted = true
	}
	p.facts = v.customFacts(s, p)
	return p
}

// unfit refuses anchors that are named like an authority of the cluster: OpenSSL would take the one for the other, and to it
// neither letters in upper case nor more blanks make another name. It also refuses those that cannot be noted.
func (v *view) unfit(domain rotation.Domain, p *presented) bool {
	for _, a := range p.anchors {
		if v.recordForeign && !v.isForeign(domain, pki.Facts(a).Fingerprint) {
			p.findings = append(p.findings, custom.Finding{Reason: recordForeign, Severity: custom.Refuse, Message: fmt.Sprintf(
				"Secret %s exists and does not belong to this cluster, and nothing more can be noted as trusted: rename or delete it", desired.TrustRecord(v.cluster.Name))})
			return true
		}
		subject := pki.Facts(a).Subject
		if generationNamed(v.cluster.Name, domain, asCompared(subject)) > 0 {
			p.findings = append(p.findings, custom.Finding{Reason: anchorReserved, Severity: custom.Refuse, Message: fmt.Sprintf(
				"%s: the authority %s bears the name of one of the cluster's own: let the issuer have another name", p.source, subject)})
			return true
		}
	}
	return v.crowded(domain, p) || v.ambiguous(domain, p)
}

// maxForeign is how many anchors from elsewhere a bundle has room for beside the cluster's own generations: a pod takes no
// bundle of more than pki.MaxCertificates, and would be left with what it has.
const maxForeign = pki.MaxCertificates - 10

// crowded refuses anchors for which a domain's bundle has no room, because of what other sources bring or have brought.
func (v *view) crowded(domain rotation.Domain, p *presented) bool {
	room := maxForeign - len(v.foreignAnchors(domain))
	for _, a := range p.anchors {
		if !v.isForeign(domain, pki.Facts(a).Fingerprint) {
			room--
		}
	}
	if room >= 0 {
		return false
	}
	p.findings = append(p.findings, custom.Finding{Reason: custom.TooLarge, Severity: custom.Refuse, Message: fmt.Sprintf(
		"%s: with its %d authorities the bundle of the domain %s would hold more than %d from elsewhere: name only those that issue for this cluster", p.source, len(p.anchors), domain, maxForeign)})
	return true
}

// asCompared is a name as OpenSSL compares it with others, but for the type of each part, which is as it is.
func asCompared(subject string) string {
	kind, value, _ := strings.Cut(subject, "=")
	return kind + "=" + strings.ToLower(strings.Join(strings.Fields(value), " "))
}

// readSource reads what a spec names.
func (r *Reconciler) readSource(ctx context.Context, v *view, kind, name string) (data map[string][]byte, finding *custom.Finding) {
	refuse := func(reason custom.Reason, remedy, format string, args ...any) (map[string][]byte, *custom.Finding) {
		return nil, &custom.Finding{Reason: reason, Severity: custom.Refuse, Message: fmt.Sprintf("%s %s: ", kind, name) + fmt.Sprintf(format, args...) + ": " + remedy}
	}
	key := client.ObjectKey{Namespace: v.cluster.Namespace, Name: name}
	var secret corev1.Secret
	var config corev1.ConfigMap
	object, read := client.Object(&secret), func() map[string][]byte { return secret.Data }
	if kind == configMapKind {
		object, read = &config, func() map[string][]byte { return bytesOf(&config) }
	}
	err := r.live.Get(ctx, key, object)
	switch {
	case apierrors.IsNotFound(err):
		return refuse(sourceMissing, "create it, or correct the name in the spec", "there is none in namespace %s", v.cluster.Namespace)
	case err != nil:
		return refuse(sourceUnreadable, "the operator tries again", "%s", evidence.InWords(err))
	case metav1.IsControlledBy(object, v.cluster):
		return refuse(sourceReserved, "give a "+kind+" of your own", "the operator writes it")
	}
	return read(), nil
}

func bytesOf(config *corev1.ConfigMap) map[string][]byte {
	data := map[string][]byte{}
	for key, text := range config.Data {
		data[key] = []byte(text)
	}
	for key, text := range config.BinaryData {
		data[key] = text
	}
	return data
}

// additionalTrust reads the authorities that are trusted besides in a domain. While one source cannot be read or is refused,
// nothing that was admitted before is given up: who knows what it held.
func (r *Reconciler) additionalTrust(ctx context.Context, v *view, domain rotation.Domain) (anchors []*x509.Certificate) {
	spec := specOf(v.cluster)
	sources := map[rotation.Domain][]v1beta1.TrustSource{rotation.Server: spec.server.AdditionalTrust, rotation.Client: spec.client.AdditionalTrust}[domain]
	for _, source := range sources {
		kind, key := trustKey(source)
		found, findings := r.readTrust(ctx, v, domain, kind, key)
		v.trustFindings[domain] = append(v.trustFindings[domain], findings...)
		if found == nil {
			v.hold(domain)
		}
		for _, a := range found {
			v.anchor(domain, a).facts.Wanted = true // before the next source: they share the room that a bundle has
		}
		anchors = append(anchors, found...)
	}
	return anchors
}

// hold keeps what is trusted in a domain: who knows what a source holds, or held, that cannot be read or is refused.
func (v *view) hold(domain rotation.Domain) {
	for _, a := range v.foreign {
		a.facts.Held = a.facts.Held || a.facts.Domain == domain
	}
}

func (r *Reconciler) readTrust(ctx context.Context, v *view, domain rotation.Domain, kind string, key v1beta1.TrustKey) ([]*x509.Certificate, []custom.Finding) {
	data, finding := r.readSource(ctx, v, kind, key.Name)
	if finding != nil {
		return nil, []custom.Finding{*finding}
	}
	source := kind + " " + key.Name
	text, ok := data[key.Key]
	if !ok {
		return nil, []custom.Finding{{Reason: sourceMissing, Severity: custom.Refuse, Message: fmt.Sprintf("%s: there is no key %s: add it, or correct the key in the spec", source, key.Key)}}
	}
	anchors, findings := custom.CheckBundle(source, key.Key, text, v.observed.Now)
	p := &presented{source: source, anchors: anchors, findings: findings}
	if v.unfit(domain, p) {
		return nil, p.findings
	}
	return anchors, findings
}

// inputFor is what a Secret is measured against.
func (r *Reconciler) inputFor(v *view, s slot, projection *corev1.SecretProjection, data map[string][]byte) custom.Input {
	spec := specOf(v.cluster)
	input := custom.Input{
		Role: s.role, Source: "Secret " + projection.Name, Data: data,
		Identities: agentapi.ReplicationNames(), Now: v.observed.Now,
	}
	input.RenewBefore = renewBefore(s, spec)
	for _, item := range projection.Items {
		input.Items = append(input.Items, custom.Item{Key: item.Key, Path: item.Path})
	}
	if s.domain == rotation.Server && spec.server.SystemRoots && r.options.SystemRoots != nil {
		input.SystemRoots = r.options.SystemRoots()
	}
	switch s.role {
	case custom.Instance:
		input.Names, input.OtherNames = hostsOf(spec.server.Instances, v.cluster, desired.PrimaryService(v.cluster.Name), desired.ReplicaService(v.cluster.Name))
		if host := desired.ServiceHost(desired.PrimaryService(v.cluster.Name), v.cluster.Namespace); desired.Pooler(v.cluster) != nil && !slices.Contains(input.Names, host) {
			input.Names = append(slices.Clone(input.Names), host) // by which PgBouncer goes, and verifies
		}
	case custom.Pooler:
		input.Names, input.OtherNames = hostsOf(spec.server.PGBouncer, v.cluster, desired.PoolerName(v.cluster.Name))
	case custom.Replication:
	}
	return input
}

// renewBefore is how long before its end a certificate should have a successor: as long as one of the cluster's own would. An
// issuer that was asked for short lives renews by itself, so its own window is meant.
func renewBefore(s slot, spec tlsSpec) time.Duration {
	switch s.role {
	case custom.Instance:
		return serverPolicy(spec.server.Instances).RenewBefore / 2
	case custom.Pooler:
		return serverPolicy(spec.server.PGBouncer).RenewBefore / 2
	default:
		return certificatePolicy(spec.client.Replication, clientLeafLife, 3).RenewBefore / 2
	}
}

// hostsOf are the hosts that clients are given, and those by which they may go besides. Who says by which names clients go
// (dnsNames) means these: a public issuer knows no name of a Service.
func hostsOf(spec *v1beta1.ServerCertificateSpec, cluster *v1beta1.PostgresCluster, services ...string) (given, others []string) {
	for _, service := range services {
		given = append(given, desired.ServiceHost(service, cluster.Namespace))
	}
	if spec != nil && len(spec.DNSNames) > 0 {
		return spec.DNSNames, given
	}
	return given[:1], given[1:]
}

// lastGood falls back on what some party presents already in a slot.
func (v *view) lastGood(p *presented) {
	p.pair, p.anchors = nil, nil
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		if party.Kind != p.slot.kind {
			continue
		}
		pair, anchors := v.presents(party, p.slot.domain)
		if pair == nil || p.pair != nil && !pair.Leaf().NotBefore.After(p.pair.Leaf().NotBefore) {
			continue
		}
		p.pair, p.anchors = pair, anchors
	}
}

// presents is the sound custom certificate in a party's material, with the anchors beside it to which it leads; nil: none.
func (v *view) presents(party *rotation.Party, domain rotation.Domain) (*pki.KeyPair, []*x509.Certificate) {
	secret := v.material[party.Name]
	for _, c := range party.Material.Customs {
		if c.Domain != domain || c.Problem != "" || secret == nil {
			continue
		}
		files := processFiles[domain]
		pair, err := pki.ParseKeyPair(secret.Data[files.certificate], secret.Data[files.key])
		if err != nil {
			return nil, nil
		}
		var anchors []*x509.Certificate
		for _, a := range v.foreignAnchors(domain) {
			if slices.Contains(c.Anchors, pki.Facts(a).Fingerprint) {
				anchors = append(anchors, a)
			}
		}
		return pair, anchors
	}
	return nil, nil
}

// customFacts are the facts of what is to be presented. Its anchors are those of the domain to which the chain leads.
func (v *view) customFacts(s slot, p *presented) *rotation.Custom {
	facts := customOf(s.domain, p.pair, v.foreignAnchors(s.domain), v.observed.Now)
	adoption := adoptionOf(v.cluster)
	facts.Immediate = adoption == v1beta1.AdoptImmediate
	facts.Unapproved = adoption == v1beta1.AdoptManual && !slices.Contains(approvals(v.cluster), facts.Content)
	return &facts
}

// wantCustoms says what a party's process is to present.
func (v *view) wantCustoms(party *rotation.Party) {
	for _, p := range v.customs {
		if p.slot.kind != party.Kind || p.facts == nil {
			continue
		}
		want := *p.facts
		for _, have := range party.Material.Customs {
			if have.Domain == want.Domain && have.IssuerKeyID == want.IssuerKeyID {
				want.Unapproved = false // the same issuer's: a renewal
			}
		}
		party.Customs = append(party.Customs, want)
	}
}

// custom returns what is to be presented by a party in a domain; nil: its own leaf.
func (v *view) custom(party *rotation.Party, domain rotation.Domain) *presented {
	for _, p := range v.customs {
		if p.slot.kind == party.Kind && p.slot.domain == domain && p.pair != nil {
			return p
		}
	}
	return nil
}

// approvals are the contents that a person let be presented.
func approvals(cluster *v1beta1.PostgresCluster) (contents []string) {
	for content := range strings.SplitSeq(cluster.Annotations[adoptApprovedAnnotation], ",") {
		contents = append(contents, strings.TrimSpace(content))
	}
	return contents
}

func adoptionOf(cluster *v1beta1.PostgresCluster) string {
	if cluster.Spec.TLS == nil {
		return ""
	}
	return cluster.Spec.TLS.Adoption
}

// inspectCustoms tells what the process of a party presents in place of the party's leaves.
func inspectCustoms(secret *corev1.Secret, wants []rotation.LeafWant, bundles map[rotation.Domain][]*x509.Certificate, now time.Time) (customs []rotation.Custom) {
	if !hasProcess(wants) {
		return nil
	}
	for _, domain := range rotation.Domains() {
		own, files := pairFiles[domain], processFiles[domain]
		if bytes.Equal(secret.Data[own.certificate], secret.Data[files.certificate]) && bytes.Equal(secret.Data[own.key], secret.Data[files.key]) {
			continue
		}
		pair, err := pki.ParseKeyPair(secret.Data[files.certificate], secret.Data[files.key])
		if err != nil {
			customs = append(customs, rotation.Custom{Domain: domain, Problem: string(pki.ReasonOf(err))})
			continue
		}
		facts := customOf(domain, pair, bundles[domain], now)
		if mine, err := pki.ParseKeyPair(secret.Data[own.certificate], secret.Data[own.key]); err == nil && contentOf(mine) == facts.Content {
			continue // written in another way
		}
		if len(facts.Anchors) == 0 && len(bundles[domain]) > 0 { // a damaged bundle is a fault of its own
			err := pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: bundles[domain], At: now, Usage: usages[domain], Foreign: true})
			facts.Problem = string(pki.ReasonOf(err))
		}
		customs = append(customs, facts)
	}
	return customs
}

// hasProcess reports whether a party's material is for a pod: the operator serves nothing.
func hasProcess(wants []rotation.LeafWant) bool {
	return slices.ContainsFunc(wants, func(w rotation.LeafWant) bool { return w.Domain == rotation.Server })
}

// customOf are the facts of a pair, with those anchors to which its chain leads.
func customOf(domain rotation.Domain, pair *pki.KeyPair, anchors []*x509.Certificate, now time.Time) rotation.Custom {
	facts := pki.Facts(pair.Leaf())
	out := rotation.Custom{
		Domain: domain, Fingerprint: facts.Fingerprint, IssuerKeyID: pki.IssuerID(pair.Leaf()), Content: contentOf(pair),
		NotBefore: facts.NotBefore, NotAfter: facts.NotAfter,
	}
	for _, a := range anchors {
		if pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: []*x509.Certificate{a}, At: now, Usage: usages[domain], Foreign: true}) == nil {
			out.Anchors = append(out.Anchors, pki.Facts(a).Fingerprint)
		}
	}
	slices.Sort(out.Anchors)
	return out
}

// contentOf is short, so that a person can write it into an annotation. The key is the leaf's, so the chain says it all.
func contentOf(pair *pki.KeyPair) string {
	return pki.Revision(map[string][]byte{"chain": pair.EncodeChain()})[:12]
}

// processPair is what a party's process is to present after a step: a custom certificate, or the party's own leaf.
func processPair(v *view, party *rotation.Party, domain rotation.Domain, step rotation.Step, own pair) (pair, error) {
	if slices.Contains(step.Adopt, domain) {
		if p := v.custom(party, domain); p != nil {
			key, err := p.pair.EncodeKey()
			if err != nil {
				return pair{}, fmt.Errorf("encoding the key of %s: %w", p.source, err)
			}
			return pair{p.pair.EncodeChain(), key}, nil
		}
		return pair{}, errNotAtHand
	}
	for _, have := range party.Material.Customs {
		if have.Domain == domain && !slices.Contains(step.Own, domain) {
			old, files := v.material[party.Name], processFiles[domain]
			return pair{old.Data[files.certificate], old.Data[files.key]}, nil
		}
	}
	return own, nil
}
