// Package request keeps the Certificates of cert-manager. Where the spec names an issuer, cert-manager is asked for a
// Certificate, and the Secret that it fills is read like one that the user names.
package request

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
)

// Op is a kind of step.
type Op string

// The operations.
const (
	Apply  Op = "ApplyCertificate"  // make a Certificate what the spec wants
	Delete Op = "DeleteCertificate" // take back one that the spec wants no longer
)

// Step is one write of a Certificate.
type Step struct {
	Op     Op
	Slot   wanted.Slot // zero for a Certificate that is no slot's
	Object *unstructured.Unstructured
}

// String returns the step in words.
func (s Step) String() string { return fmt.Sprintf("%s %s", s.Op, s.Object.GetName()) }

// Differs reports whether a desired object is not in force in the live one; see kube.Applier.
type Differs func(desired, live client.Object) (bool, error)

// Steps compares the Certificates that the spec wants with those that exist. Nothing is asked for while it is not known what
// exists, or where there is no cert-manager.
func Steps(s *snapshot.Snapshot, clusterDomain string, differs Differs) (steps []Step, err error) {
	if s.Certificates.Unavailable || s.Certificates.Err != nil {
		return nil, nil
	}
	var wants []string
	for _, slot := range wanted.Slots() {
		issuer := slot.Issuer(s.Cluster)
		if issuer == nil {
			continue
		}
		certificate := certmanager.Certificate(requestFor(s.Cluster, clusterDomain, slot, *issuer))
		wants = append(wants, certificate.GetName())
		if live := s.Certificates.Named(certificate.GetName()); live != nil {
			differ, err := differs(certificate, live)
			if err != nil {
				return nil, fmt.Errorf("comparing Certificate %s: %w", certificate.GetName(), err)
			}
			if !differ {
				continue
			}
		}
		steps = append(steps, Step{Op: Apply, Slot: slot, Object: certificate})
	}
	for i := range s.Certificates.Owned {
		if live := &s.Certificates.Owned[i]; !slices.Contains(wants, live.GetName()) && live.GetDeletionTimestamp().IsZero() {
			steps = append(steps, Step{Op: Delete, Slot: slotOf(s.Cluster.Name, live.GetName()), Object: live})
		}
	}
	return steps, nil
}

// slotOf returns the slot that a Certificate is of, zero when it is none's.
func slotOf(cluster, certificate string) wanted.Slot {
	for _, slot := range wanted.Slots() {
		if certmanager.Name(cluster, slot.Issued) == certificate {
			return slot
		}
	}
	return wanted.Slot{}
}

// Take takes one step.
func Take(ctx context.Context, applier *kube.Applier, step Step) error {
	var err error
	switch step.Op {
	case Apply:
		_, err = applier.Apply(ctx, step.Object)
	case Delete:
		err = applier.Delete(ctx, step.Object)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

// requestFor is what cert-manager is asked for where an issuer is to fill a slot.
func requestFor(cluster *v1beta1.PostgresCluster, clusterDomain string, s wanted.Slot, issuer v1beta1.IssuerReference) certmanager.Request {
	spec := wanted.Of(cluster)
	request := certmanager.Request{
		Name: certmanager.Name(cluster.Name, s.Issued), Namespace: cluster.Namespace, Issuer: issuer,
		Owner: desired.OwnerReference(cluster), Labels: desired.ComponentLabels(cluster.Name, desired.TLSComponent),
	}
	leaf := s.Leaf()
	request.CommonName, request.Usage = leaf.Identity, s.Domain.Usage()
	if s.Domain == party.Server {
		names := desired.ServiceNames(cluster, leaf.Names.Services, spec.ServerSpec(leaf.Policy), clusterDomain)
		request.CommonName = desired.ServiceName(cluster.Name, leaf.Names.Services[0])
		request.DNSNames, request.IPAddresses = names.DNS, names.IPs
	}
	policy := spec.Policy(leaf.Policy)
	request.Algorithm, request.Duration, request.RenewBefore = policy.Algorithm, policy.Life, policy.RenewBefore
	return request
}
