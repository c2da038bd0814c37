package gather

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// gatherApplications takes in the ledger, and the Secrets of applications that are to have none any more.
func gatherApplications(v *look) {
	for i := range v.secrets {
		secret := &v.secrets[i]
		if secret.Labels[material.ApplicationLabel] == "" || v.Party(secret.Name) != nil || !v.belongs(secretKind, secret) || !secret.DeletionTimestamp.IsZero() {
			continue
		}
		v.Material[secret.Name] = secret
		v.Observed.UnwantedApplications = append(v.Observed.UnwantedApplications, secret.Name)
		noteCurrent(v, secret.Labels[material.ApplicationLabel], secret)
	}
	for i := range v.Observed.Parties {
		if party := &v.Observed.Parties[i]; party.Kind.InLedger && v.Material[party.Name] != nil {
			noteCurrent(v, party.User, v.Material[party.Name])
		}
	}
	if v.Ledger == nil && v.Observed.Ledger.State == facts.Missing {
		noteListed(v)
	}
	slices.Sort(v.Observed.UnwantedApplications)
}

// noteCurrent enters the certificate in an application's Secret, as if the ledger held it, where it does not: a client has
// deleted the ledger.
func noteCurrent(v *look, user string, secret *corev1.Secret) {
	files := party.Application.Files.Leaf(facts.Client)
	pair, err := pki.ParseKeyPair(secret.Data[files.Certificate], secret.Data[files.Key])
	if err != nil {
		return
	}
	details := pki.Facts(pair.Leaf())
	enter(v, facts.Issued{User: user, Serial: details.Serial, IssuerKeyID: details.IssuerKeyID, At: issuedAt(details), NotAfter: details.NotAfter})
}

// issuedAt works out when a leaf was issued: its validity begins earlier, see backdate.
func issuedAt(details pki.CertificateFacts) time.Time {
	return details.NotBefore.Add(min(wanted.LeafBackdate, details.NotAfter.Sub(details.NotBefore)/11))
}

// noteListed enters what stands on the published revocation lists, for the same reason. When such a certificate ends is not
// known, but that it is not after its authority.
func noteListed(v *look) {
	for _, list := range v.PublishedLists() {
		details := pki.FactsOfRevocationList(list)
		for _, entry := range list.RevokedCertificateEntries {
			if serial := entry.SerialNumber.Text(16); !material.IsCanary(serial) {
				enter(v, facts.Issued{Serial: serial, IssuerKeyID: details.IssuerKeyID, At: entry.RevocationTime, NotAfter: details.NextUpdate, RevokedAt: entry.RevocationTime})
			}
		}
	}
}

// enter adds to what is known to have been issued.
func enter(v *look, entry facts.Issued) {
	if !slices.ContainsFunc(v.Observed.Ledger.Issued, func(known facts.Issued) bool { return known.Serial == entry.Serial }) {
		v.Observed.Ledger.Issued = append(v.Observed.Ledger.Issued, entry)
	}
}

// gatherLedger reads the ledger, also when its labels were removed.
func gatherLedger(ctx context.Context, v *look) error {
	secret, _, err := findSecret(ctx, v, desired.ClientCertificateLedger(v.Cluster.Name))
	ledger := &v.Observed.Ledger
	switch {
	case err != nil:
		return err
	case secret == nil:
		ledger.State = facts.Missing
	case !v.belongs(secretKind, secret):
		ledger.State = facts.Foreign
	default:
		v.Ledger = secret
		if ledger.Issued, err = material.ReadLedger(secret); err == nil {
			ledger.State = facts.Present
		}
	}
	gatherApplications(v)
	return nil
}
