package act

import (
	"context"
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
)

// Refusal is the proof that no verifier accepts a certificate of an authority any more. Only Refused makes it; without one no
// authority is discarded.
type Refusal struct{ domain, keyID string }

// canaryLife is how long a canary could do harm if an attacker reads the operator's memory.
const canaryLife = time.Minute

// canaryName is a name without an owner: RFC 6761 section 6.4.
const canaryName = "canary.invalid"

// Refused issues a leaf that is valid but for its issuer, and presents it to the verifiers that have to refuse it:
// client leaves to every PostgreSQL on the wire, server leaves to every bundle that is held, with the least strict verification. An authority whose key is lost
// can issue nothing more, neither here nor there.
func (r *Round) Refused(ctx context.Context, stored *snapshot.StoredAuthority) (Refusal, error) {
	v := &r.round
	proof := Refusal{domain: string(stored.Facts.Domain), keyID: stored.Facts.Certificate.KeyID}
	if stored.Authority == nil || !v.Observed.Now.Before(stored.Certificate.NotAfter) {
		return proof, nil
	}
	request := pki.LeafRequest{
		CommonName: agentapi.OperatorIdentity, Usage: stored.Facts.Domain.Usage(), Algorithm: pki.DefaultAlgorithm,
		NotBefore: v.Observed.Now.Add(-canaryLife), NotAfter: v.Observed.Now.Add(canaryLife),
	}
	if stored.Facts.Domain == facts.Server {
		request.DNSNames = []string{canaryName}
	}
	pair, err := stored.Authority.Issue(request)
	if err != nil {
		return Refusal{}, fmt.Errorf("issuing a canary: %w", err)
	}
	for _, held := range heldBundles(v, stored.Facts.Domain, "") {
		if pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: v.Observed.Now, Usage: stored.Facts.Domain.Usage(), Lenient: true}) == nil {
			return Refusal{}, accepts(stored, "a verifier that holds "+subjectsOf(held))
		}
	}
	if stored.Facts.Domain == facts.Client {
		if err := refusedByPostgres(ctx, v, stored, pair); err != nil {
			return Refusal{}, err
		}
	}
	return proof, nil
}

func accepts(stored *snapshot.StoredAuthority, who string) error {
	return &invariant.Violation{Invariant: "UseBeforeRetire", Message: fmt.Sprintf("%s still accepts certificates of the %s authority g%d", who, stored.Facts.Domain, stored.Facts.Generation)}
}

// refusedByPostgres presents a canary to every PostgreSQL. No answer is no refusal.
func refusedByPostgres(ctx context.Context, v *round, stored *snapshot.StoredAuthority, canary *pki.KeyPair) error {
	identity := v.Identity()
	if identity == nil {
		return errNoSigner
	}
	for name, pod := range v.Pods {
		for _, err := range v.Proofs.Present(ctx, evidence.Request{
			Run: snapshot.RunOf(pod), ServerName: snapshot.ServerName(v.Cluster, pod), Endpoints: v.Endpoints[name], Identity: identity, Now: v.Observed.Now,
		}, canary) {
			switch {
			case err == nil:
				return accepts(stored, "PostgreSQL of pod "+name)
			case probe.ReasonOf(err) != probe.ClientRefused:
				return podSilent(name, fmt.Errorf("presenting a canary of the %s authority g%d: %w", stored.Facts.Domain, stored.Facts.Generation, err))
			}
		}
	}
	return nil
}
