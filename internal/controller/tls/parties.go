package tls

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
	"pgtls.dev/pgtls/internal/schedule"
)

// Default lives (docs/rotation.md); a leaf is renewed at 2/3 of its life, an
// authority re-keyed at 1/2.
const (
	authorityLife  = 2 * 365 * 24 * time.Hour
	serverLeafLife = 90 * 24 * time.Hour
	clientLeafLife = 30 * 24 * time.Hour
)

// trustPropagationDelay is the default of spec.tls.trustPropagationDelay: where spec.tls is not given, the API server fills in nothing.
const trustPropagationDelay = 2 * time.Minute

// Backdating absorbs clocks that are behind. A short-lived leaf is backdated by a
// tenth of its life at most: what is said in parts of a life (when to renew, when
// an agent goes ahead by itself) must not be about the past.
const (
	leafBackdate      = 10 * time.Minute
	authorityBackdate = time.Hour
)

func backdate(life time.Duration) time.Duration { return min(leafBackdate, life/10) }

// tlsSpec is spec.tls with nothing missing, so that nobody has to ask for nil.
type tlsSpec struct {
	server v1beta1.ServerTLSSpec
	client v1beta1.ClientTLSSpec

	rotation v1beta1.RotationSpec
}

func specOf(cluster *v1beta1.PostgresCluster) tlsSpec {
	var spec tlsSpec
	if tls := cluster.Spec.TLS; tls != nil {
		if tls.Server != nil {
			spec.server = *tls.Server
		}
		if tls.Client != nil {
			spec.client = *tls.Client
		}
		if tls.Rotation != nil {
			spec.rotation = *tls.Rotation
		}
	}
	return spec
}

// policyOf is what a cluster's spec and annotations want of certificates.
func policyOf(cluster *v1beta1.PostgresCluster) rotation.Policy {
	spec := specOf(cluster)
	policy := rotation.Policy{
		TrustPropagationDelay: trustPropagationDelay,
		Authorities: map[rotation.Domain]rotation.CertificatePolicy{
			rotation.Server: certificatePolicy(spec.server.Authority, authorityLife, 2),
			rotation.Client: certificatePolicy(spec.client.Authority, authorityLife, 2),
		},
		RenewRequest: cluster.Annotations[renewRequestAnnotation],
		Rekey:        map[rotation.Domain]rotation.RekeyPolicy{},
		RetireSoak:   spec.rotation.RetireSoak.Duration(),
		RetireManual: spec.rotation.RetirePolicy == v1beta1.RetireManual,
		Paused:       spec.rotation.Paused,
		UrgentBefore: spec.rotation.UrgentBefore.Duration(),
	}
	if tls := cluster.Spec.TLS; tls != nil && tls.TrustPropagationDelay != nil {
		policy.TrustPropagationDelay = tls.TrustPropagationDelay.Duration()
	}
	for _, domain := range rotation.Domains() {
		policy.ApprovedAnchors = append(policy.ApprovedAnchors, approvedAnchors(cluster.Annotations[retireApprovedAnnotation], domain)...)
	}
	policy.AutoRollback.Refusals, policy.AutoRollback.Factor = spec.rotation.AutoRollback.Limits()
	policy.Windows, policy.WindowsInvalid = windowsOf(spec.rotation.Windows)
	for _, domain := range rotation.Domains() {
		policy.Rekey[domain] = rotation.RekeyPolicy{
			Request:  valueFor(cluster.Annotations[rotateRequestAnnotation], string(domain)+":"),
			Rollback: valueFor(cluster.Annotations[rollbackAnnotation], string(domain)+":"),
			Tainted:  parseGeneration(valueFor(cluster.Annotations[taintAnnotation], string(domain)+"-g")),
			Approved: parseGeneration(valueFor(cluster.Annotations[retireApprovedAnnotation], string(domain)+"-g")),
		}
	}
	return policy
}

// approvedAnchors are the anchors of a domain that an annotation names.
func approvedAnchors(annotation string, domain rotation.Domain) (names []string) {
	for part := range strings.SplitSeq(annotation, ",") {
		if part = strings.TrimSpace(part); strings.HasPrefix(part, string(domain)+"-") {
			names = append(names, part)
		}
	}
	return names
}

// windowsOf returns when what is planned may begin, nil for at any time, or in one line why that cannot be understood.
func windowsOf(spec []v1beta1.MaintenanceWindow) (rotation.Windows, string) {
	if len(spec) == 0 {
		return nil, ""
	}
	var wanted []schedule.Window
	for _, w := range spec {
		wanted = append(wanted, schedule.Window{Schedule: w.Schedule, Duration: w.Duration.Duration(), TimeZone: w.TimeZone})
	}
	windows, err := schedule.New(wanted)
	if err != nil {
		return nil, "spec.tls.rotation." + err.Error()
	}
	return windows, ""
}

// valueFor returns what stands behind a prefix in an annotation that may hold something for each domain: "server:1,client:7".
func valueFor(annotation, prefix string) string {
	for part := range strings.SplitSeq(annotation, ",") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(part), prefix); ok {
			return value
		}
	}
	return ""
}

// certificatePolicy fills in what a spec leaves out. share is the part of its
// life before whose start a certificate is renewed: 3 means at 2/3.
func certificatePolicy(spec *v1beta1.CertificateSpec, life time.Duration, share int) rotation.CertificatePolicy {
	policy := rotation.CertificatePolicy{Life: life, Algorithm: pki.DefaultAlgorithm}
	if spec != nil {
		if d := spec.Duration.Duration(); d > 0 {
			policy.Life = d
		}
		if spec.KeyAlgorithm != "" {
			policy.Algorithm = pki.Algorithm(spec.KeyAlgorithm)
		}
	}
	policy.RenewBefore = policy.Life / time.Duration(share)
	if spec != nil && spec.RenewBefore.Duration() > 0 {
		policy.RenewBefore = spec.RenewBefore.Duration()
	}
	return policy
}

func serverPolicy(spec *v1beta1.ServerCertificateSpec) rotation.CertificatePolicy {
	if spec == nil {
		return certificatePolicy(nil, serverLeafLife, 3)
	}
	return certificatePolicy(&spec.CertificateSpec, serverLeafLife, 3)
}

// partiesOf are the parties that a cluster's spec wants, sorted by name, without what is known of them.
func partiesOf(cluster *v1beta1.PostgresCluster, clusterDomain string, services []corev1.Service) []rotation.Party {
	spec := specOf(cluster)
	parties := []rotation.Party{{
		Name:  desired.OperatorMaterial(cluster.Name),
		Kind:  rotation.Operator,
		Wants: []rotation.LeafWant{clientLeaf(agentapi.OperatorIdentity, spec.client.Operator)},
	}}
	for _, instance := range desired.Instances(cluster) {
		names := desired.InstanceNames(cluster, instance.Name, clusterDomain, services)
		parties = append(parties, rotation.Party{
			Name: desired.MaterialSecret(instance.Name),
			Kind: rotation.Instance,
			Wants: []rotation.LeafWant{
				serverLeaf(instance.Name, names, serverPolicy(spec.server.Instances)),
				clientLeaf(agentapi.ReplicationIdentity, spec.client.Replication),
			},
		})
	}
	if desired.Pooler(cluster) != nil {
		pooler := desired.PoolerName(cluster.Name)
		names := desired.PoolerNames(cluster, clusterDomain, services)
		parties = append(parties, rotation.Party{
			Name: desired.MaterialSecret(pooler),
			Kind: rotation.Pooler,
			Wants: []rotation.LeafWant{
				serverLeaf(pooler, names, serverPolicy(spec.server.PGBouncer)),
				clientLeaf(agentapi.PGBouncerIdentity, spec.client.PGBouncer),
			},
		})
	}
	parties = append(parties, applicationsOf(cluster)...)
	slices.SortFunc(parties, func(a, b rotation.Party) int { return strings.Compare(a.Name, b.Name) })
	return parties
}

func clientLeaf(identity string, spec *v1beta1.CertificateSpec) rotation.LeafWant {
	return rotation.LeafWant{
		Domain: rotation.Client, CommonName: identity,
		CertificatePolicy: certificatePolicy(spec, clientLeafLife, 3),
	}
}

func serverLeaf(commonName string, names desired.Names, policy rotation.CertificatePolicy) rotation.LeafWant {
	return rotation.LeafWant{
		Domain: rotation.Server, CommonName: commonName,
		DNSNames: names.DNS, IPs: texts(names.IPs), CertificatePolicy: policy,
	}
}

// texts are addresses as pki.Facts spells and sorts them.
func texts(addresses []netip.Addr) []string {
	out := make([]string, len(addresses))
	for i, a := range addresses {
		out[i] = a.String()
	}
	slices.Sort(out)
	return out
}
