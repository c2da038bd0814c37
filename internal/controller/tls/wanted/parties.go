package wanted

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation"
)

// applicationsOf are the users that are to have a client certificate.
func applicationsOf(cluster *v1beta1.PostgresCluster) (parties []rotation.Party) {
	for _, user := range desired.Users(cluster) {
		spec := user.ClientCertificate
		if spec == nil {
			continue
		}
		party := rotation.Party{
			Name: desired.UserCertificateSecret(cluster.Name, user.Name), Kind: rotation.Application, User: user.Name,
			Wants: []rotation.LeafWant{ClientLeaf(user.Name, &spec.CertificateSpec)},
		}
		if spec.RevokeIssuedBefore != nil {
			party.RevokeBefore = spec.RevokeIssuedBefore.Time
		}
		parties = append(parties, party)
	}
	return parties
}

// partiesOf are the parties that a cluster's spec wants, sorted by name, without what is known of them.
func Parties(cluster *v1beta1.PostgresCluster, clusterDomain string, services []corev1.Service) []rotation.Party {
	spec := Of(cluster)
	parties := []rotation.Party{{
		Name:  desired.OperatorMaterial(cluster.Name),
		Kind:  rotation.Operator,
		Wants: []rotation.LeafWant{ClientLeaf(agentapi.OperatorIdentity, spec.Client.Operator)},
	}}
	for _, instance := range desired.Instances(cluster) {
		names := desired.InstanceNames(cluster, instance.Name, clusterDomain, services)
		parties = append(parties, rotation.Party{
			Name: desired.MaterialSecret(instance.Name),
			Kind: rotation.Instance,
			Wants: []rotation.LeafWant{
				serverLeaf(instance.Name, names, ServerPolicy(spec.Server.Instances)),
				ClientLeaf(agentapi.ReplicationIdentity, spec.Client.Replication),
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
				serverLeaf(pooler, names, ServerPolicy(spec.Server.PGBouncer)),
				ClientLeaf(agentapi.PGBouncerIdentity, spec.Client.PGBouncer),
			},
		})
	}
	parties = append(parties, applicationsOf(cluster)...)
	slices.SortFunc(parties, func(a, b rotation.Party) int { return strings.Compare(a.Name, b.Name) })
	return parties
}

func ClientLeaf(identity string, spec *v1beta1.CertificateSpec) rotation.LeafWant {
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
