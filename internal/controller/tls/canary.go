package tls

import (
	"context"
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation"
)

// refusal is the proof that nobody accepts any more what an authority issues. Only refused makes it; without one no
// authority is discarded.
type refusal struct{ domain, keyID string }

// canaryLife is how long a canary could do harm in the hands of somebody who reads the operator's memory.
const canaryLife = time.Minute

// canaryName is nobody's: RFC 6761 section 6.4.
const canaryName = "canary.invalid"

// refused issues a leaf that is right in everything but who issued it, and shows it to those who would have to refuse it:
// client leaves to every PostgreSQL on the wire, server leaves to every bundle that is held, by whoever is least strict. An authority whose key is lost
// can issue nothing more, neither here nor there.
func (r *Reconciler) refused(ctx context.Context, v *view, stored *storedAuthority) (refusal, error) {
	proof := refusal{domain: string(stored.facts.Domain), keyID: stored.facts.Certificate.KeyID}
	if stored.authority == nil || !v.observed.Now.Before(stored.certificate.NotAfter) {
		return proof, nil
	}
	request := pki.LeafRequest{
		CommonName: agentapi.OperatorIdentity, Usage: usages[stored.facts.Domain], Algorithm: pki.DefaultAlgorithm,
		NotBefore: v.observed.Now.Add(-canaryLife), NotAfter: v.observed.Now.Add(canaryLife),
	}
	if stored.facts.Domain == rotation.Server {
		request.DNSNames = []string{canaryName}
	}
	pair, err := stored.authority.Issue(request)
	if err != nil {
		return refusal{}, fmt.Errorf("issuing a canary: %w", err)
	}
	for _, held := range v.heldBundles(stored.facts.Domain, "") {
		if pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: v.observed.Now, Usage: usages[stored.facts.Domain], Foreign: true}) == nil {
			return refusal{}, accepts(stored, "who holds "+subjectsOf(held))
		}
	}
	if stored.facts.Domain == rotation.Client {
		if err := r.refusedByPostgres(ctx, v, stored, pair); err != nil {
			return refusal{}, err
		}
	}
	return proof, nil
}

func accepts(stored *storedAuthority, who string) error {
	return &rotation.Violation{Invariant: "UseBeforeRetire", Message: fmt.Sprintf("%s still accepts what the %s authority g%d issues", who, stored.facts.Domain, stored.facts.Generation)}
}

// refusedByPostgres presents a canary to every PostgreSQL. No answer is no refusal.
func (r *Reconciler) refusedByPostgres(ctx context.Context, v *view, stored *storedAuthority, canary *pki.KeyPair) error {
	identity := r.identity(v)
	if identity == nil {
		return errNoSigner
	}
	for name, pod := range v.pods {
		for _, err := range r.proofs.Present(ctx, evidence.Request{
			Run: runOf(pod), ServerName: serverName(v.cluster, pod), Endpoints: v.endpoints[name], Identity: identity, Now: v.observed.Now,
		}, canary) {
			switch {
			case err == nil:
				return accepts(stored, "PostgreSQL of pod "+name)
			case probe.ReasonOf(err) != probe.ClientRefused:
				return fmt.Errorf("presenting a canary of the %s authority g%d to pod %s: %w", stored.facts.Domain, stored.facts.Generation, name, err)
			}
		}
	}
	return nil
}
