package tls

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// The ledger is the Secret <cluster>-client-certificates: what was issued to applications and has not ended, one key for each
// serial number. An entry is written before the certificate itself: a crash in between leaves an entry that nobody has a
// certificate for, and never a certificate without an entry. Nothing in it is secret.

// ledgerEntry is what stands under a serial number.
type ledgerEntry struct {
	User      string     `json:"user,omitempty"`
	Issuer    string     `json:"issuer"` // key identifier
	IssuedAt  time.Time  `json:"issuedAt"`
	NotAfter  time.Time  `json:"notAfter"`
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
}

// observeLedger reads it, also when somebody took its labels away.
func (r *Reconciler) observeLedger(ctx context.Context, v *view, secrets []corev1.Secret) error {
	secret, _, err := r.findSecret(ctx, v, desired.ClientCertificateLedger(v.cluster.Name), secrets)
	ledger := &v.observed.Ledger
	switch {
	case err != nil:
		return err
	case secret == nil:
		ledger.State = rotation.Missing
	case !metav1.IsControlledBy(secret, v.cluster):
		ledger.State = rotation.Foreign
	default:
		v.ledger = secret
		if ledger.Issued, err = readLedger(secret); err == nil {
			ledger.State = rotation.Present
		}
	}
	v.observeApplications(secrets)
	return nil
}

// readLedger returns the entries in the order of issue. One that cannot be read makes all of it unknown.
func readLedger(secret *corev1.Secret) (issued []rotation.Issued, err error) {
	for serial, text := range secret.Data {
		var entry ledgerEntry
		if err := json.Unmarshal(text, &entry); err != nil || entry.Issuer == "" || entry.NotAfter.IsZero() {
			return nil, fmt.Errorf("reading what Secret %s says of certificate %s: %w", secret.Name, serial, err)
		}
		one := rotation.Issued{User: entry.User, Serial: serial, IssuerKeyID: entry.Issuer, At: entry.IssuedAt, NotAfter: entry.NotAfter}
		if entry.RevokedAt != nil {
			one.RevokedAt = *entry.RevokedAt
		}
		issued = append(issued, one)
	}
	slices.SortFunc(issued, func(a, b rotation.Issued) int {
		if order := a.At.Compare(b.At); order != 0 {
			return order
		}
		return strings.Compare(a.Serial, b.Serial)
	})
	return issued, nil
}

// ledgerData leaves out what has ended.
func ledgerData(issued []rotation.Issued, now time.Time) (map[string][]byte, error) {
	data := map[string][]byte{}
	for _, one := range issued {
		if !now.Before(one.NotAfter) {
			continue
		}
		entry := ledgerEntry{User: one.User, Issuer: one.IssuerKeyID, IssuedAt: one.At.UTC(), NotAfter: one.NotAfter.UTC()}
		if !one.RevokedAt.IsZero() {
			at := one.RevokedAt.UTC()
			entry.RevokedAt = &at
		}
		text, err := json.Marshal(entry)
		if err != nil {
			return nil, fmt.Errorf("writing down certificate %s: %w", one.Serial, err)
		}
		data[one.Serial] = text
	}
	return data, nil
}

// writeLedger replaces exactly the ledger that was observed, or creates it.
func (r *Reconciler) writeLedger(ctx context.Context, v *view, issued []rotation.Issued) error {
	data, err := ledgerData(issued, v.observed.Now)
	if err != nil {
		return err
	}
	secret := r.secret(v, desired.ClientCertificateLedger(v.cluster.Name), data)
	if v.ledger == nil {
		err = r.create(ctx, v, secret)
	} else {
		err = r.update(ctx, v.ledger, secret)
	}
	if err != nil {
		return err
	}
	v.ledger, v.observed.Ledger = secret, rotation.Ledger{State: rotation.Present, Issued: issued}
	return nil
}

// noteIssued enters a certificate that is about to be published for an application.
func (r *Reconciler) noteIssued(ctx context.Context, v *view, party *rotation.Party, step rotation.Step, data map[string][]byte) error {
	if !slices.Contains(step.Reissue, rotation.Client) {
		return nil
	}
	pair, err := pki.ParseKeyPair(data[agentapi.ClientCertificate], data[agentapi.ClientKey])
	if err != nil {
		return fmt.Errorf("noting the certificate of user %s: %w", party.User, err)
	}
	facts := pki.Facts(pair.Leaf())
	return r.writeLedger(ctx, v, append(slices.Clone(v.observed.Ledger.Issued), rotation.Issued{
		User: party.User, Serial: facts.Serial, IssuerKeyID: facts.IssuerKeyID, At: v.observed.Now.UTC().Truncate(time.Second), NotAfter: facts.NotAfter,
	}))
}

// revoke notes that certificates must not be accepted any longer. From then on every plan has them on a list.
func (r *Reconciler) revoke(ctx context.Context, v *view, step rotation.Step) error {
	issued := slices.Clone(v.observed.Ledger.Issued)
	var revoked []rotation.Issued
	for i := range issued {
		if slices.Contains(step.Serials, issued[i].Serial) {
			issued[i].RevokedAt = v.observed.Now.UTC().Truncate(time.Second)
			revoked = append(revoked, issued[i])
		}
	}
	if err := r.writeLedger(ctx, v, issued); err != nil {
		return err
	}
	for _, one := range revoked {
		r.event(v, eventNormal, eventRevoked, "%s is revoked (%s)", issuedTo(one), step.Reason)
	}
	return nil
}
