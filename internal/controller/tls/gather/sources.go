package gather

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// gatherSources reads and checks every certificate that the spec names, and says what each party is to present. What is
// refused changes nothing: what is presented already goes on being presented.
func gatherSources(ctx context.Context, v *look) error {
	trust := map[facts.Domain][]*x509.Certificate{}
	for _, domain := range facts.Domains() {
		trust[domain] = additionalTrust(ctx, v, domain)
	}
	var peer []*x509.Certificate
	for _, s := range wanted.Slots() {
		if s.Source(v.Cluster) == nil {
			continue
		}
		p := readCustom(ctx, v, s, trust[s.Domain], peer)
		if s.Role == custom.Instance && p.Accepted {
			peer = p.Anchors
		}
		v.Customs = append(v.Customs, p)
	}
	for i := range v.Observed.Parties {
		wantCustoms(v, &v.Observed.Parties[i])
	}
	v.Observed.External = foreignFacts(v)
	for _, a := range v.External {
		v.Known[a.Facts.Fingerprint] = a.Certificate
	}
	return nil
}

// readCustom reads one Secret, and falls back on what is presented already.
func readCustom(ctx context.Context, v *look, s wanted.Slot, trust, peer []*x509.Certificate) *snapshot.Presented {
	projection := s.Source(v.Cluster)
	p := &snapshot.Presented{Slot: s, Source: "Secret " + projection.Name}
	secret, finding := readSource(ctx, v, wanted.SecretKind, projection.Name)
	if finding != nil {
		p.Findings = []custom.Finding{*finding}
		if issuer := s.Issuer(v.Cluster); issuer != nil && finding.Reason == snapshot.SourceMissing {
			p.Findings = []custom.Finding{awaited(v, s, issuer)}
		}
	} else {
		input := inputFor(v, s, projection, secret)
		input.Trust, input.PeerTrust = trust, peer
		var certificate *custom.Certificate
		if certificate, p.Findings = custom.Check(input); certificate != nil {
			p.Pair, p.Anchors, p.Accepted = certificate.Pair, certificate.Anchors, true
		}
	}
	if p.Accepted && unfit(v, s.Domain, p) {
		p.Accepted = false
	}
	if !p.Accepted {
		hold(v, s.Domain)
		lastGood(v, p)
	}
	if p.Pair == nil {
		return p
	}
	for _, a := range p.Anchors {
		anchorOf(v, s.Domain, a).Facts.Wanted = true
	}
	p.Facts = customFacts(v, s, p)
	return p
}

// readSource reads what a spec names.
func readSource(ctx context.Context, v *look, kind, name string) (data map[string][]byte, finding *custom.Finding) {
	refuse := func(code custom.Reason, remedy, format string, args ...any) (map[string][]byte, *custom.Finding) {
		return nil, &custom.Finding{Reason: code, Severity: custom.Refuse, Message: fmt.Sprintf("%s %s: ", kind, name) + fmt.Sprintf(format, args...) + ": " + remedy}
	}
	key := client.ObjectKey{Namespace: v.Cluster.Namespace, Name: name}
	var secret corev1.Secret
	var config corev1.ConfigMap
	object, read := client.Object(&secret), func() map[string][]byte { return secret.Data }
	if kind == wanted.ConfigMapKind {
		object, read = &config, func() map[string][]byte { return bytesOf(&config) }
	}
	err := v.Live.Get(ctx, key, object)
	switch {
	case apierrors.IsNotFound(err):
		return refuse(snapshot.SourceMissing, "create it, or correct the name in the spec", "there is none in namespace %s", v.Cluster.Namespace)
	case err != nil:
		log.FromContext(ctx).Error(err, "reading what the spec names", "kind", kind, "name", name)
		return refuse(snapshot.SourceUnreadable, "the operator tries again", "%s", kube.Explain(err))
	case ofSomeCluster(object):
		return refuse(snapshot.SourceReserved, "give a "+kind+" of your own", "the operator writes it")
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
// nothing that was admitted before is given up: what it held is unknown.
func additionalTrust(ctx context.Context, v *look, domain facts.Domain) (anchors []*x509.Certificate) {
	spec := wanted.Of(v.Cluster)
	sources := map[facts.Domain][]v1beta1.TrustSource{facts.Server: spec.Server.AdditionalTrust, facts.Client: spec.Client.AdditionalTrust}[domain]
	for _, source := range sources {
		kind, key := wanted.TrustKey(source)
		found, findings := readTrust(ctx, v, domain, kind, key)
		v.TrustFindings[domain] = append(v.TrustFindings[domain], findings...)
		if found == nil {
			hold(v, domain)
		}
		for _, a := range found {
			anchorOf(v, domain, a).Facts.Wanted = true // before the next source: they share the room that a bundle has
		}
		anchors = append(anchors, found...)
	}
	return anchors
}

// hold keeps what is trusted in a domain: a source that cannot be read, or is refused, may hold it.
func hold(v *look, domain facts.Domain) {
	for _, a := range v.External {
		a.Facts.Held = a.Facts.Held || a.Facts.Domain == domain
	}
}

func readTrust(ctx context.Context, v *look, domain facts.Domain, kind string, key v1beta1.TrustKey) ([]*x509.Certificate, []custom.Finding) {
	data, finding := readSource(ctx, v, kind, key.Name)
	if finding != nil {
		return nil, []custom.Finding{*finding}
	}
	source := kind + " " + key.Name
	text, ok := data[key.Key]
	if !ok {
		return nil, []custom.Finding{{Reason: snapshot.SourceMissing, Severity: custom.Refuse, Message: fmt.Sprintf("%s: there is no key %s: add it, or correct the key in the spec", source, key.Key)}}
	}
	anchors, findings := custom.CheckBundle(source, key.Key, text, v.Observed.Now)
	p := &snapshot.Presented{Source: source, Anchors: anchors, Findings: findings}
	if unfit(v, domain, p) {
		return nil, p.Findings
	}
	return anchors, findings
}

// inputFor is what a Secret is measured against.
func inputFor(v *look, s wanted.Slot, projection *corev1.SecretProjection, data map[string][]byte) custom.Input {
	spec := wanted.Of(v.Cluster)
	input := custom.Input{
		Role: s.Role, Source: "Secret " + projection.Name, Data: data,
		Identities: agentapi.ReplicationNames(), Now: v.Observed.Now,
	}
	input.RenewBefore = s.RenewBefore(spec)
	for _, item := range projection.Items {
		input.Items = append(input.Items, custom.Item{Key: item.Key, Path: item.Path})
	}
	if s.Domain == facts.Server && spec.Server.SystemRoots && v.SystemRoots != nil {
		input.SystemRoots = v.SystemRoots()
	}
	if s.Domain == facts.Server {
		input.Names, input.OtherNames = s.Hosts(v.Cluster)
	}
	host := desired.ServiceHost(desired.PrimaryService(v.Cluster.Name), v.Cluster.Namespace)
	if s.Role == custom.Instance && desired.Pooler(v.Cluster) != nil && !slices.Contains(input.Names, host) {
		input.Names = append(slices.Clone(input.Names), host) // by which PgBouncer goes, and verifies
	}
	return input
}

// lastGood falls back on what some party presents already in a slot.
func lastGood(v *look, p *snapshot.Presented) {
	p.Pair, p.Anchors = nil, nil
	for i := range v.Observed.Parties {
		party := &v.Observed.Parties[i]
		if party.Kind != p.Slot.Kind {
			continue
		}
		pair, anchors := presents(v, party, p.Slot.Domain)
		if pair == nil || p.Pair != nil && !pair.Leaf().NotBefore.After(p.Pair.Leaf().NotBefore) {
			continue
		}
		p.Pair, p.Anchors = pair, anchors
	}
}

// presents is the sound custom certificate in a party's material, with the anchors beside it to which it leads; nil: none.
func presents(v *look, party *facts.Party, domain facts.Domain) (*pki.KeyPair, []*x509.Certificate) {
	secret := v.Material[party.Name]
	for _, c := range party.Material.Customs {
		if c.Domain != domain || c.Problem != "" || secret == nil {
			continue
		}
		files := party.Kind.Files.Process(domain)
		pair, err := pki.ParseKeyPair(secret.Data[files.Certificate], secret.Data[files.Key])
		if err != nil {
			return nil, nil
		}
		var anchors []*x509.Certificate
		for _, a := range v.ExternalAnchors(domain) {
			if slices.Contains(c.Anchors, pki.Facts(a).Fingerprint) {
				anchors = append(anchors, a)
			}
		}
		return pair, anchors
	}
	return nil, nil
}

// customFacts are the facts of what is to be presented. Its anchors are those of the domain to which the chain leads.
func customFacts(v *look, s wanted.Slot, p *snapshot.Presented) *facts.Custom {
	details := material.CustomOf(s.Domain, p.Pair, v.ExternalAnchors(s.Domain), v.Observed.Now)
	adoption := wanted.Adoption(v.Cluster)
	details.Immediate = adoption == v1beta1.AdoptImmediate
	details.Unapproved = adoption == v1beta1.AdoptManual && !slices.Contains(wanted.RequestsOf(v.Cluster).Adopt, details.Content)
	return &details
}

// wantCustoms says what a party's process is to present.
func wantCustoms(v *look, party *facts.Party) {
	for _, p := range v.Customs {
		if p.Slot.Kind != party.Kind || p.Facts == nil {
			continue
		}
		want := *p.Facts
		for _, have := range party.Material.Customs {
			if have.Domain == want.Domain && have.IssuerKeyID == want.IssuerKeyID {
				want.Unapproved = false // the same issuer's: a renewal
			}
		}
		party.Customs = append(party.Customs, want)
	}
}
