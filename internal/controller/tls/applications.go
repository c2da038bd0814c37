package tls

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// applicationFiles are the keys of an application's Secret, by what its material calls them. They are what Kubernetes and
// cert-manager call them, so that other programs find them.
var applicationFiles = map[string]string{
	agentapi.ClientCertificate: corev1.TLSCertKey,
	agentapi.ClientKey:         corev1.TLSPrivateKeyKey,
	agentapi.ServerBundle:      "ca.crt",
}

// applicationsOf are the users that are to have a client certificate.
func applicationsOf(cluster *v1beta1.PostgresCluster) (parties []rotation.Party) {
	for _, user := range desired.Users(cluster) {
		spec := user.ClientCertificate
		if spec == nil {
			continue
		}
		party := rotation.Party{
			Name: desired.UserCertificateSecret(cluster.Name, user.Name), Kind: rotation.Application, User: user.Name,
			Wants: []rotation.LeafWant{clientLeaf(user.Name, &spec.CertificateSpec)},
		}
		if spec.RevokeIssuedBefore != nil {
			party.RevokeBefore = spec.RevokeIssuedBefore.Time
		}
		parties = append(parties, party)
	}
	return parties
}

// inspectParty tells what a party's Secret is worth to it.
func inspectParty(party *rotation.Party, secret *corev1.Secret, now time.Time) rotation.Material {
	if party.Kind != rotation.Application {
		return inspect(secret, party.Wants, now)
	}
	m := inspect(asMaterial(secret), party.Wants, now)
	for i := range m.Leaves { // there is no bundle beside it to verify it against
		if leaf := &m.Leaves[i]; leaf.Problem == "" && !now.Before(leaf.NotAfter) {
			leaf.Problem = string(pki.Expired)
		}
	}
	return m
}

// asMaterial is an application's Secret with the keys that material has.
func asMaterial(secret *corev1.Secret) *corev1.Secret {
	if secret == nil {
		return nil
	}
	out := secret.DeepCopy()
	for material, application := range applicationFiles {
		if content, there := out.Data[application]; there {
			out.Data[material] = content
			delete(out.Data, application)
		}
	}
	return out
}

// forApplication is material with the keys that an application's Secret has, and without what an application does not need.
// What was accepted of the one is accepted of the other.
func (a acceptance) forApplication(data map[string][]byte) (map[string][]byte, acceptance) {
	out := map[string][]byte{}
	for material, application := range applicationFiles {
		out[application] = data[material]
	}
	if a.revision != pki.Revision(data) {
		return out, acceptance{}
	}
	return out, acceptance{revision: pki.Revision(out)}
}

// observeApplications takes in the ledger, and the Secrets of applications that are to have none any more.
func (v *view) observeApplications(secrets []corev1.Secret) {
	for i := range secrets {
		secret := &secrets[i]
		if secret.Labels[applicationLabel] == "" || v.party(secret.Name) != nil || !metav1.IsControlledBy(secret, v.cluster) || !secret.DeletionTimestamp.IsZero() {
			continue
		}
		v.material[secret.Name] = secret
		v.observed.UnwantedApplications = append(v.observed.UnwantedApplications, secret.Name)
		v.noteCurrent(secret.Labels[applicationLabel], secret)
	}
	for i := range v.observed.Parties {
		if party := &v.observed.Parties[i]; party.Kind == rotation.Application && v.material[party.Name] != nil {
			v.noteCurrent(party.User, v.material[party.Name])
		}
	}
	if v.ledger == nil && v.observed.Ledger.State == rotation.Missing {
		v.noteListed()
	}
	slices.Sort(v.observed.UnwantedApplications)
}

// noteCurrent enters the certificate in an application's Secret, as if the ledger held it, where it does not: somebody has
// deleted the ledger.
func (v *view) noteCurrent(user string, secret *corev1.Secret) {
	files := asMaterial(secret).Data
	pair, err := pki.ParseKeyPair(files[agentapi.ClientCertificate], files[agentapi.ClientKey])
	if err != nil {
		return
	}
	facts := pki.Facts(pair.Leaf())
	v.enter(rotation.Issued{User: user, Serial: facts.Serial, IssuerKeyID: facts.IssuerKeyID, At: issuedAt(facts), NotAfter: facts.NotAfter})
}

// issuedAt works out when a leaf was issued: its validity begins earlier, see backdate.
func issuedAt(facts pki.CertificateFacts) time.Time {
	return facts.NotBefore.Add(min(leafBackdate, facts.NotAfter.Sub(facts.NotBefore)/11))
}

// noteListed enters what stands on the published revocation lists, for the same reason. When such a certificate ends is not
// known, but that it is not after its authority.
func (v *view) noteListed() {
	for _, list := range v.publishedLists() {
		facts := pki.FactsOfRevocationList(list)
		for _, entry := range list.RevokedCertificateEntries {
			if serial := entry.SerialNumber.Text(16); !isCanary(serial) {
				v.enter(rotation.Issued{Serial: serial, IssuerKeyID: facts.IssuerKeyID, At: entry.RevocationTime, NotAfter: facts.NextUpdate, RevokedAt: entry.RevocationTime})
			}
		}
	}
}

// enter adds to what is known to have been issued.
func (v *view) enter(entry rotation.Issued) {
	if !slices.ContainsFunc(v.observed.Ledger.Issued, func(known rotation.Issued) bool { return known.Serial == entry.Serial }) {
		v.observed.Ledger.Issued = append(v.observed.Ledger.Issued, entry)
	}
}

// clientCertificateStatus tells what every application has.
func clientCertificateStatus(v *view) []v1beta1.ClientCertificateStatus {
	byUser := map[string]*v1beta1.ClientCertificateStatus{}
	var out []v1beta1.ClientCertificateStatus
	current := map[string]bool{}
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		if party.Kind != rotation.Application {
			continue
		}
		status := v1beta1.ClientCertificateStatus{User: party.User}
		for _, leaf := range party.Material.Leaves {
			if leaf.Serial != "" {
				status.Serial, status.NotAfter = leaf.Serial, &metav1.Time{Time: leaf.NotAfter}
				current[leaf.Serial] = true
			}
		}
		out = append(out, status)
	}
	for i := range out {
		byUser[out[i].User] = &out[i]
	}
	var gone []v1beta1.ClientCertificateStatus
	for _, entry := range v.observed.Ledger.Issued {
		if !v.observed.Now.Before(entry.NotAfter) || current[entry.Serial] && entry.RevokedAt.IsZero() || entry.User == "" {
			continue
		}
		status := byUser[entry.User]
		if status == nil {
			i := slices.IndexFunc(gone, func(s v1beta1.ClientCertificateStatus) bool { return s.User == entry.User })
			if i < 0 {
				gone, i = append(gone, v1beta1.ClientCertificateStatus{User: entry.User}), len(gone)
			}
			status = &gone[i]
		}
		if entry.RevokedAt.IsZero() {
			status.Replaced++
		} else {
			status.Revoked++
		}
	}
	return append(out, gone...)
}

// issuedTo says in one line what was issued.
func issuedTo(entry rotation.Issued) string {
	if entry.User == "" {
		return "certificate " + entry.Serial
	}
	return fmt.Sprintf("certificate %s of user %s", entry.Serial, entry.User)
}
