package wanted

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// applicationsOf are the users that are to have a client certificate.
func applicationsOf(cluster *v1beta1.PostgresCluster) (parties []facts.Party) {
	for _, user := range desired.Users(cluster) {
		spec := user.ClientCertificate
		if spec == nil {
			continue
		}
		party := facts.Party{
			Name: desired.UserCertificateSecret(cluster.Name, user.Name), Kind: facts.Application, User: user.Name,
			Wants: []facts.LeafWant{ClientLeaf(user.Name, &spec.CertificateSpec)},
		}
		if spec.RevokeIssuedBefore != nil {
			party.RevokeBefore = spec.RevokeIssuedBefore.Time
		}
		parties = append(parties, party)
	}
	return parties
}

// partiesOf are the parties that a cluster's spec wants, sorted by name, without what is known of them.
func Parties(cluster *v1beta1.PostgresCluster, clusterDomain string, services []corev1.Service) []facts.Party {
	spec := Of(cluster)
	parties := []facts.Party{{
		Name:  desired.OperatorMaterial(cluster.Name),
		Kind:  facts.Operator,
		Wants: []facts.LeafWant{ClientLeaf(agentapi.OperatorIdentity, spec.Client.Operator)},
	}}
	for _, instance := range desired.Instances(cluster) {
		names := desired.InstanceNames(cluster, instance.Name, clusterDomain, services)
		parties = append(parties, facts.Party{
			Name: desired.MaterialSecret(instance.Name),
			Kind: facts.Instance,
			Wants: []facts.LeafWant{
				serverLeaf(instance.Name, names, ServerPolicy(spec.Server.Instances)),
				ClientLeaf(agentapi.ReplicationIdentity, spec.Client.Replication),
			},
		})
	}
	if desired.Pooler(cluster) != nil {
		pooler := desired.PoolerName(cluster.Name)
		names := desired.PoolerNames(cluster, clusterDomain, services)
		parties = append(parties, facts.Party{
			Name: desired.MaterialSecret(pooler),
			Kind: facts.Pooler,
			Wants: []facts.LeafWant{
				serverLeaf(pooler, names, ServerPolicy(spec.Server.PGBouncer)),
				ClientLeaf(agentapi.PGBouncerIdentity, spec.Client.PGBouncer),
			},
		})
	}
	parties = append(parties, applicationsOf(cluster)...)
	slices.SortFunc(parties, func(a, b facts.Party) int { return strings.Compare(a.Name, b.Name) })
	return parties
}

func ClientLeaf(identity string, spec *v1beta1.CertificateSpec) facts.LeafWant {
	return facts.LeafWant{
		Domain: facts.Client, CommonName: identity,
		CertificatePolicy: certificatePolicy(spec, clientLeafLife, 3),
	}
}

func serverLeaf(commonName string, names desired.Names, policy facts.CertificatePolicy) facts.LeafWant {
	return facts.LeafWant{
		Domain: facts.Server, CommonName: commonName,
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
