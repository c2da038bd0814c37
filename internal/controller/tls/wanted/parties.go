package wanted

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Parties are those that a cluster's spec wants, sorted by name, without what is known of them. services are those that exist.
func Parties(cluster *v1beta1.PostgresCluster, clusterDomain string, services []corev1.Service) []facts.Party {
	spec := Of(cluster)
	var parties []facts.Party
	for _, kind := range party.Kinds() {
		for _, m := range membersOf(cluster, kind.Members) {
			p := facts.Party{Name: m.secret, Kind: kind, User: m.user, RevokeBefore: m.revokeBefore}
			for i := range kind.Leaves {
				leaf := &kind.Leaves[i]
				want := facts.LeafWant{Domain: leaf.Domain, CommonName: cmp.Or(leaf.Identity, m.name), CertificatePolicy: m.policy(spec, leaf.Policy)}
				if leaf.Domain == facts.Server {
					names := desired.ServerNames(cluster, leaf.Names, m.name, spec.ServerSpec(leaf.Policy), clusterDomain, services)
					want.DNSNames, want.IPs = names.DNS, texts(names.IPs)
				}
				p.Wants = append(p.Wants, want)
			}
			parties = append(parties, p)
		}
	}
	slices.SortFunc(parties, func(a, b facts.Party) int { return strings.Compare(a.Name, b.Name) })
	return parties
}

// member is one party of a kind, as the spec has it.
type member struct {
	secret string // its material
	name   string // of its workload, or of the user; empty: none

	user         string
	certificate  *v1beta1.CertificateSpec // of a user
	revokeBefore time.Time
}

func (m *member) policy(spec Spec, policy party.Policy) facts.CertificatePolicy {
	if policy == party.UserCertificate {
		return certificatePolicy(m.certificate, clientLeafLife, 3)
	}
	return spec.Policy(policy)
}

func membersOf(cluster *v1beta1.PostgresCluster, members party.Members) (of []member) {
	switch members {
	case party.One:
		of = append(of, member{secret: desired.OperatorMaterial(cluster.Name)})
	case party.EachInstance:
		for _, instance := range desired.Instances(cluster) {
			of = append(of, member{secret: desired.MaterialSecret(instance.Name), name: instance.Name})
		}
	case party.Poolers:
		if name := desired.PoolerName(cluster.Name); desired.Pooler(cluster) != nil {
			of = append(of, member{secret: desired.MaterialSecret(name), name: name})
		}
	case party.EachUser:
		for _, user := range desired.Users(cluster) {
			if user.ClientCertificate != nil {
				of = append(of, userMember(cluster, user.Name, user.ClientCertificate))
			}
		}
	}
	return of
}

func userMember(cluster *v1beta1.PostgresCluster, user string, spec *v1beta1.ClientCertificateSpec) member {
	m := member{secret: desired.UserCertificateSecret(cluster.Name, user), name: user, user: user, certificate: &spec.CertificateSpec}
	if spec.RevokeIssuedBefore != nil {
		m.revokeBefore = spec.RevokeIssuedBefore.Time
	}
	return m
}

// MaterialOf names the material Secret of a pod of a cluster; empty: no kind of party has such pods.
func MaterialOf(cluster string, pod *corev1.Pod) string {
	kind := party.OfComponent(pod.Labels[desired.ComponentLabel])
	switch {
	case kind == nil:
		return ""
	case kind.Members == party.EachInstance:
		return desired.MaterialSecret(pod.Labels[desired.InstanceLabel])
	}
	return desired.MaterialSecret(desired.PoolerName(cluster))
}

// PortOf is the number of a port of a cluster's pods.
func PortOf(cluster *v1beta1.PostgresCluster, port party.Port) int32 {
	if pooler := desired.Pooler(cluster); port.Number == 0 && pooler != nil { // PgBouncer's is the only one that can be set
		return desired.PoolerPort(pooler)
	}
	return int32(port.Number)
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
