package act

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// addRevocation adds the lists that an instance is to have; old is what it has.
func addRevocation(v *round, step plan.Publish, data map[string][]byte, old *corev1.Secret) error {
	wanted, keep := step.Lists, step.KeepLists
	published := v.PublishedLists()
	var lists []*x509.RevocationList
	for _, stored := range v.Authorities {
		key := stored.Facts.Certificate.KeyID
		if stored.Facts.Domain != facts.Client || stored.Certificate == nil {
			continue
		}
		serials, listed := wanted[key]
		list := published[key]
		switch {
		case keep && list == nil || !keep && !listed:
			continue
		case !keep && !material.UpToDate(list, serials) && stored.Authority != nil:
			signed, err := signList(v, stored, serials, list)
			if err != nil {
				return err
			}
			list = signed
		case list == nil:
			continue // nothing can be listed, and the plan says so
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 || keep && (old == nil || old.Data[agentapi.RevocationLists] == nil) {
		return nil
	}
	data[agentapi.RevocationLists] = pki.EncodeRevocationLists(lists)
	return nil
}

// signList makes an authority's next list, once for all instances of a round.
func signList(v *round, stored *snapshot.StoredAuthority, serials []string, before *x509.RevocationList) (*x509.RevocationList, error) {
	key := stored.Facts.Certificate.KeyID
	if list := v.signed[key]; material.UpToDate(list, serials) {
		return list, nil
	}
	number := v.Observed.Now.Unix() + 1 // see facts.ListNumbers
	if before != nil {
		number = max(number, pki.FactsOfRevocationList(before).Number+1)
	}
	request := pki.RevocationListRequest{
		Number: number, ThisUpdate: v.Observed.Now.Add(-wanted.AuthorityBackdate),
		Revoked: []pki.Revocation{{Serial: material.CanarySerial(number), At: v.Observed.Now}},
	}
	for _, serial := range serials {
		request.Revoked = append(request.Revoked, pki.Revocation{Serial: serial, At: revokedAt(v, serial)})
	}
	list, err := stored.Authority.RevocationList(request)
	if err != nil {
		return nil, fmt.Errorf("signing the revocation list of client g%d: %w", stored.Facts.Generation, err)
	}
	if v.signed == nil {
		v.signed = map[string]*x509.RevocationList{}
	}
	v.signed[key] = list
	return list, nil
}

func revokedAt(v *round, serial string) time.Time {
	for _, one := range v.Observed.Ledger.Issued {
		if one.Serial == serial && !one.RevokedAt.IsZero() {
			return one.RevokedAt
		}
	}
	return v.Observed.Now
}

// revokedCanary issues the canary of a party's published lists; nil when there is none.
func revokedCanary(v *round, party *facts.Party) (*pki.KeyPair, error) {
	secret := v.Material[party.Name]
	if !party.Kind.AuthenticatesClients || party.Material.Revoked == nil || secret == nil {
		return nil, nil
	}
	lists, err := pki.ParseRevocationLists(secret.Data[agentapi.RevocationLists])
	if err != nil {
		return nil, fmt.Errorf("reading the revocation lists of %s: %w", party.Name, err)
	}
	for _, stored := range v.Authorities {
		i := slices.IndexFunc(lists, func(list *x509.RevocationList) bool {
			return pki.FactsOfRevocationList(list).IssuerKeyID == stored.Facts.Certificate.KeyID
		})
		if i < 0 || stored.Authority == nil || stored.Facts.Domain != facts.Client {
			continue
		}
		serial, _ := new(big.Int).SetString(material.CanarySerial(pki.FactsOfRevocationList(lists[i]).Number), 16)
		pair, err := stored.Authority.Issue(pki.LeafRequest{
			CommonName: agentapi.OperatorIdentity, Usage: pki.ClientAuth, Algorithm: pki.DefaultAlgorithm, Serial: serial,
			NotBefore: v.Observed.Now.Add(-canaryLife), NotAfter: v.Observed.Now.Add(canaryLife),
		})
		if err != nil {
			return nil, fmt.Errorf("issuing a revoked canary: %w", err)
		}
		return pair, nil
	}
	return nil, nil
}
