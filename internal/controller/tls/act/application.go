package act

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

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
	files := party.Kind.Files.Leaf(facts.Client)
	pair, err := pki.ParseKeyPair(data[files.Certificate], data[files.Key])
	if err != nil {
		return fmt.Errorf("noting the certificate of user %s: %w", party.User, err)
	}
	details := pki.Facts(pair.Leaf())
	issued := v.withoutUnstored(party, v.Observed.Ledger.Issued)
	if valid := len(ofUser(issued, party.User, v.Observed.Now)); valid >= MaxCertificates {
		return &Error{Cause: LedgerFull, Fact: fmt.Sprintf("user %s has %d certificates that have not ended", party.User, valid),
			Remedy: "wait until some end, or issue fewer: see pgtls.dev/renew-requested-at and clientCertificate.duration"}
	}
	err = writeLedger(ctx, v, append(issued, facts.Issued{
		User: party.User, Serial: details.Serial, IssuerKeyID: details.IssuerKeyID, At: v.Observed.Now.UTC().Truncate(time.Second), NotAfter: details.NotAfter,
	}))
	if err == nil {
		v.Unstored.note(v.key(party), details.Serial)
	}
	return err
}

// MaxCertificates is how many certificates of one user may be noted that have not ended: the ledger has room for some thousand.
const MaxCertificates = 100

func ofUser(issued []facts.Issued, user string, now time.Time) (of []facts.Issued) {
	for _, one := range issued {
		if one.User == user && now.Before(one.NotAfter) {
			of = append(of, one)
		}
	}
	return of
}

// withoutUnstored leaves out the certificate of a user that was noted at the last attempt and is not in the user's Secret: the
// write of the Secret failed, and the key was forgotten. One that is stored late all the same is seen there, and noted again.
func (v *round) withoutUnstored(party *facts.Party, issued []facts.Issued) []facts.Issued {
	serial := v.Unstored.of(v.key(party))
	return slices.DeleteFunc(slices.Clone(issued), func(one facts.Issued) bool {
		return serial != "" && one.Serial == serial && one.RevokedAt.IsZero() &&
			!slices.ContainsFunc(party.Material.Leaves, func(l facts.Leaf) bool { return l.Serial == serial })
	})
}

func (v *round) key(party *facts.Party) client.ObjectKey {
	return client.ObjectKey{Namespace: v.Cluster.Namespace, Name: party.Name}
}

// Unstored remembers which certificate of a user was noted and is not known to be stored, by the user's Secret. After a restart
// of the operator nothing is remembered, and what was noted stays noted.
type Unstored struct {
	mu      sync.Mutex
	serials map[client.ObjectKey]string
}

func (u *Unstored) of(secret client.ObjectKey) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.serials[secret]
}

func (u *Unstored) note(secret client.ObjectKey, serial string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.serials == nil {
		u.serials = map[client.ObjectKey]string{}
	}
	u.serials[secret] = serial
}

func (u *Unstored) stored(secret client.ObjectKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.serials, secret)
}
