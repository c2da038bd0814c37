package wanted

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Slot is a place for a custom certificate.
type Slot struct {
	Role       custom.Role
	Kind       *party.Kind
	Domain     facts.Domain
	Condition  string
	Issued     certmanager.Role // where an issuer fills it
	projection func(*v1beta1.PostgresCluster) *corev1.SecretProjection
}

// Slots are all of them. The server's comes before the replicas', who may lean on its ca.crt.
func Slots() []Slot {
	return []Slot{
		{custom.Instance, party.Instance, facts.Server, "CustomCertificateServer", certmanager.InstancesRole, func(c *v1beta1.PostgresCluster) *corev1.SecretProjection {
			return c.Spec.CustomTLSSecret
		}},
		{custom.Replication, party.Instance, facts.Client, "CustomCertificateReplication", certmanager.ReplicationRole, func(c *v1beta1.PostgresCluster) *corev1.SecretProjection {
			return c.Spec.CustomReplicationTLSSecret
		}},
		{custom.Pooler, party.Pooler, facts.Server, "CustomCertificatePGBouncer", certmanager.PGBouncerRole, func(c *v1beta1.PostgresCluster) *corev1.SecretProjection {
			if pooler := desired.Pooler(c); pooler != nil {
				return pooler.CustomTLSSecret
			}
			return nil
		}},
	}
}

// Leaf is the leaf that a custom certificate takes the place of.
func (s Slot) Leaf() *party.Leaf { return s.Kind.Leaf(s.Domain) }

// RenewBefore is how long before its end a certificate should have a successor: as long as one of the cluster's own would. An
// issuer that was asked for short lives renews by itself, so its own window is meant.
func (s Slot) RenewBefore(spec Spec) time.Duration {
	return spec.Policy(s.Leaf().Policy).RenewBefore / 2
}

// Hosts are those that clients of a server are given, and those by which they may go besides. A user who says by which names
// clients go (dnsNames) means these: a public issuer knows no name of a Service.
func (s Slot) Hosts(cluster *v1beta1.PostgresCluster) (given, others []string) {
	leaf := s.Leaf()
	for _, service := range leaf.Names.Services {
		given = append(given, desired.ServiceHost(desired.ServiceName(cluster.Name, service), cluster.Namespace))
	}
	if spec := Of(cluster).ServerSpec(leaf.Policy); spec != nil && len(spec.DNSNames) > 0 {
		return spec.DNSNames, given
	}
	return given[:1], given[1:]
}

// Source is the Secret that a slot is filled from; nil: none.
func (s Slot) Source(cluster *v1beta1.PostgresCluster) *corev1.SecretProjection {
	if projection := s.projection(cluster); projection != nil {
		return projection
	}
	if s.Issuer(cluster) == nil {
		return nil
	}
	return &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: certmanager.Name(cluster.Name, s.Issued)}}
}

// Issuer is the cert-manager issuer of a slot; nil: there is none, or the spec names a Secret.
func (s Slot) Issuer(cluster *v1beta1.PostgresCluster) *v1beta1.IssuerReference {
	if s.projection(cluster) != nil || len(membersOf(cluster, s.Kind.Members)) == 0 {
		return nil
	}
	spec := Of(cluster)
	if s.Domain == facts.Client {
		return spec.Client.IssuerRef
	}
	return spec.Server.IssuerRef
}
