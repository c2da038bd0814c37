package wanted

import (
	"time"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/schedule"
)

// Default lives (docs/rotation.md); a leaf is renewed at 2/3 of its life, an
// authority re-keyed at 1/2.
const (
	AuthorityLife  = 2 * 365 * 24 * time.Hour
	serverLeafLife = 90 * 24 * time.Hour
	clientLeafLife = 30 * 24 * time.Hour
)

// TrustPropagationDelay is the default of spec.tls.trustPropagationDelay: where spec.tls is not given, the API server fills in nothing.
const TrustPropagationDelay = 2 * time.Minute

// Backdating absorbs clocks that are behind. A short-lived leaf is backdated by a
// tenth of its life at most: what is said in parts of a life (when to renew, when
// an agent goes ahead by itself) must not be about the past.
const (
	LeafBackdate      = 10 * time.Minute
	AuthorityBackdate = time.Hour
)

func Backdate(life time.Duration) time.Duration { return min(LeafBackdate, life/10) }

// policyOf is what a cluster's spec and annotations want of certificates.
func Policy(cluster *v1beta1.PostgresCluster) facts.Policy {
	spec := Of(cluster)
	policy := facts.Policy{
		TrustPropagationDelay: TrustPropagationDelay,
		Authorities: map[facts.Domain]facts.CertificatePolicy{
			facts.Server: certificatePolicy(spec.Server.Authority, AuthorityLife, 2),
			facts.Client: certificatePolicy(spec.Client.Authority, AuthorityLife, 2),
		},
		RenewRequest: cluster.Annotations[material.RenewRequestAnnotation],
		Rekey:        map[facts.Domain]facts.RekeyPolicy{},
		RetireSoak:   spec.rotation.RetireSoak.Duration(),
		RetireManual: spec.rotation.RetirePolicy == v1beta1.RetireManual,
		Paused:       spec.rotation.Paused,
		UrgentBefore: spec.rotation.UrgentBefore.Duration(),
	}
	if tls := cluster.Spec.TLS; tls != nil && tls.TrustPropagationDelay != nil {
		policy.TrustPropagationDelay = tls.TrustPropagationDelay.Duration()
	}
	requests := RequestsOf(cluster)
	policy.ApprovedAnchors = requests.Anchors
	policy.AutoRollback.Refusals, policy.AutoRollback.Factor = spec.rotation.AutoRollback.Limits()
	policy.Windows, policy.WindowsInvalid = windowsOf(spec.rotation.Windows)
	for _, domain := range facts.Domains() {
		policy.Rekey[domain] = facts.RekeyPolicy{
			Request:  requests.Rotate[domain],
			Rollback: requests.Rollback[domain],
			Tainted:  requests.Tainted[domain],
			Approved: requests.Retire[domain],
		}
	}
	return policy
}

// windowsOf returns the windows of planned steps, nil for any time, or in one line why a window is unparsable.
func windowsOf(spec []v1beta1.MaintenanceWindow) (facts.Windows, string) {
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

// certificatePolicy fills in what a spec leaves out. share is the part of its
// life before whose start a certificate is renewed: 3 means at 2/3.
func certificatePolicy(spec *v1beta1.CertificateSpec, life time.Duration, share int) facts.CertificatePolicy {
	policy := facts.CertificatePolicy{Life: life, Algorithm: pki.DefaultAlgorithm}
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

// Policy of the leaves whose field this is. The field of a user is in spec.users, and so not here.
func (s Spec) Policy(of party.Policy) facts.CertificatePolicy {
	switch of {
	case party.ServerInstances, party.ServerPGBouncer:
		return serverPolicy(s.ServerSpec(of))
	case party.ClientOperator:
		return certificatePolicy(s.Client.Operator, clientLeafLife, 3)
	case party.ClientReplication:
		return certificatePolicy(s.Client.Replication, clientLeafLife, 3)
	case party.ClientPGBouncer:
		return certificatePolicy(s.Client.PGBouncer, clientLeafLife, 3)
	case party.UserCertificate:
	}
	return certificatePolicy(nil, clientLeafLife, 3)
}

// ServerSpec is the field of a server leaf, nil when it is not given or the leaf is a client's.
func (s Spec) ServerSpec(of party.Policy) *v1beta1.ServerCertificateSpec {
	switch of {
	case party.ServerInstances:
		return s.Server.Instances
	case party.ServerPGBouncer:
		return s.Server.PGBouncer
	case party.ClientOperator, party.ClientReplication, party.ClientPGBouncer, party.UserCertificate:
	}
	return nil
}

func serverPolicy(spec *v1beta1.ServerCertificateSpec) facts.CertificatePolicy {
	if spec == nil {
		return certificatePolicy(nil, serverLeafLife, 3)
	}
	return certificatePolicy(&spec.CertificateSpec, serverLeafLife, 3)
}
