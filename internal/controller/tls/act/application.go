package act

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// forApplication is material with the keys that an application's Secret has, and without what an application does not need.
// What was accepted of the one is accepted of the other.
func (a acceptance) forApplication(data map[string][]byte) (map[string][]byte, acceptance) {
	out := map[string][]byte{}
	for file, application := range material.ApplicationFiles {
		out[application] = data[file]
	}
	if a.revision != pki.Revision(data) {
		return out, acceptance{}
	}
	return out, acceptance{revision: pki.Revision(out)}
}

// writeLedger replaces exactly the ledger that was observed, or creates it.
func writeLedger(ctx context.Context, v *round, issued []facts.Issued) error {
	data, err := material.LedgerData(issued, v.Observed.Now)
	if err != nil {
		return err
	}
	secret := secret(v, desired.ClientCertificateLedger(v.Cluster.Name), data)
	if v.Ledger == nil {
		err = create(ctx, v, secret)
	} else {
		err = update(ctx, v, v.Ledger, secret)
	}
	if err != nil {
		return err
	}
	v.Ledger, v.Observed.Ledger = secret, facts.Ledger{State: facts.Present, Issued: issued}
	return nil
}

// noteIssued enters a certificate that is about to be published for an application.
func noteIssued(ctx context.Context, v *round, party *facts.Party, step plan.Publish, data map[string][]byte) error {
	if !slices.Contains(step.Reissue, facts.Client) {
		return nil
	}
	pair, err := pki.ParseKeyPair(data[agentapi.ClientCertificate], data[agentapi.ClientKey])
	if err != nil {
		return fmt.Errorf("noting the certificate of user %s: %w", party.User, err)
	}
	details := pki.Facts(pair.Leaf())
	return writeLedger(ctx, v, append(slices.Clone(v.Observed.Ledger.Issued), facts.Issued{
		User: party.User, Serial: details.Serial, IssuerKeyID: details.IssuerKeyID, At: v.Observed.Now.UTC().Truncate(time.Second), NotAfter: details.NotAfter,
	}))
}
