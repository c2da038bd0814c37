package pki

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// crlBlock is the kind of PEM block that holds a revocation list.
const crlBlock = "X509 CRL"

// Revocation is a certificate that must not be accepted any longer.
type Revocation struct {
	Serial string // as in CertificateFacts
	At     time.Time
}

// RevocationListRequest asks for a list of what an authority has revoked, which may be nothing.
type RevocationListRequest struct {
	Revoked []Revocation // in any order; doubles do not matter
	// Number grows from one list of an authority to its next.
	Number int64
	// ThisUpdate is when the list is made, cut to whole seconds.
	ThisUpdate time.Time
}

// RevocationList makes a list that ends with the authority itself: while a certificate of the authority could be accepted,
// the list is in force. OpenSSL refuses every certificate once a list has expired, so one that had to be renewed in time would be an
// outage in waiting.
//
// Errors: ValidityMalformed, SerialMalformed.
func (a *Authority) RevocationList(r RevocationListRequest) (*x509.RevocationList, error) {
	from, until, err := validity(r.ThisUpdate, a.Certificate.NotAfter)
	if err != nil {
		return nil, err
	}
	entries, err := revocationEntries(r.Revoked)
	if err != nil {
		return nil, err
	}
	template := &x509.RevocationList{Number: big.NewInt(r.Number), ThisUpdate: from, NextUpdate: until, RevokedCertificateEntries: entries}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.Key)
	if err != nil {
		return nil, fmt.Errorf("signing the revocation list of %q: %w", a.Certificate.Subject, err)
	}
	return x509.ParseRevocationList(der)
}

// revocationEntries are in the order of the serial numbers, so that equal requests give equal entries.
func revocationEntries(revoked []Revocation) ([]x509.RevocationListEntry, error) {
	revoked = slices.Clone(revoked)
	slices.SortStableFunc(revoked, func(a, b Revocation) int { return cmp.Or(cmp.Compare(a.Serial, b.Serial), a.At.Compare(b.At)) })
	revoked = slices.CompactFunc(revoked, func(a, b Revocation) bool { return a.Serial == b.Serial })
	entries := make([]x509.RevocationListEntry, len(revoked))
	for i, r := range revoked {
		serial, ok := new(big.Int).SetString(r.Serial, 16)
		if !ok || serial.Sign() <= 0 {
			return nil, refuse(SerialMalformed, "give it in hexadecimal, as openssl x509 -serial does", "the serial number %q is none", r.Serial)
		}
		entries[i] = x509.RevocationListEntry{SerialNumber: serial, RevocationTime: r.At.UTC().Truncate(time.Second)}
	}
	return entries, nil
}

// EncodeRevocationLists returns PEM.
func EncodeRevocationLists(lists []*x509.RevocationList) []byte {
	var out bytes.Buffer
	for _, list := range lists {
		_ = pem.Encode(&out, &pem.Block{Type: crlBlock, Bytes: list.Raw}) // a bytes.Buffer takes everything
	}
	return out.Bytes()
}

// ParseRevocationLists reads one list or more, and nothing else. Whose they are is for CheckRevocationLists to say.
//
// Errors: those of the text.
func ParseRevocationLists(text []byte) ([]*x509.RevocationList, error) {
	const remedy = "give one or more PEM blocks of the kind X509 CRL"
	blocks, err := decodeBlocks(text)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, refuse(RevocationListMissing, remedy, "there is no revocation list") // PostgreSQL refuses an empty file too
	}
	if len(blocks) > MaxCertificates {
		return nil, refuse(TooLarge, "keep what is needed", "there are %d revocation lists, more than %d", len(blocks), MaxCertificates)
	}
	lists := make([]*x509.RevocationList, 0, len(blocks))
	for i, block := range blocks {
		if block.Type != crlBlock || len(block.Headers) > 0 {
			return nil, refuse(UnexpectedBlock, remedy, "block %d is a %q with %d headers", i+1, block.Type, len(block.Headers))
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, refuse(RevocationListMalformed, "replace it by a whole revocation list", "revocation list %d cannot be read (%v)", i+1, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// CheckRevocationLists returns nil only when OpenSSL, told to check every certificate of a path against a list
// (X509_V_FLAG_CRL_CHECK_ALL, as PostgreSQL does once it has any), finds one in force for each anchor. Without it every certificate
// of that anchor is refused. An anchor that has ended is refused anyway and needs none.
//
// Errors: RevocationListMissing, SignatureInvalid, Expired, NotYetValid.
func CheckRevocationLists(lists []*x509.RevocationList, anchors []*x509.Certificate, at time.Time) error {
	for _, anchor := range anchors {
		if !at.Before(anchor.NotAfter) {
			continue
		}
		i := slices.IndexFunc(lists, func(list *x509.RevocationList) bool { return namesSigner(list, anchor) })
		if i < 0 {
			return refuse(RevocationListMissing, "add its revocation list, or take the lists of all away", "%s has no revocation list among the %d", anchor.Subject, len(lists))
		}
		if err := checkRevocationList(lists[i], anchor, at); err != nil {
			return err
		}
	}
	return nil
}

func checkRevocationList(list *x509.RevocationList, anchor *x509.Certificate, at time.Time) error {
	if err := list.CheckSignatureFrom(anchor); err != nil {
		return refuseSignature(err, SignatureInvalid, "have the authority sign it again", "the revocation list of "+anchor.Subject.String()+" is not signed by it")
	}
	if at.Before(list.ThisUpdate) {
		return refuse(NotYetValid, "check the clock", "the revocation list of %s is valid from %s only", anchor.Subject, list.ThisUpdate.UTC().Format(time.RFC3339))
	}
	if !at.Before(list.NextUpdate) {
		return refuse(Expired, "have the authority sign a new one", "the revocation list of %s has expired at %s", anchor.Subject, list.NextUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// namesSigner reports whether a list says that an authority signed it, by name and by key identifier.
func namesSigner(list *x509.RevocationList, authority *x509.Certificate) bool {
	return bytes.Equal(list.RawIssuer, authority.RawSubject) && bytes.Equal(list.AuthorityKeyId, authority.SubjectKeyId)
}

// RevocationListFacts are what decisions need to know of a list.
type RevocationListFacts struct {
	IssuerKeyID string   // as in CertificateFacts
	Serials     []string // that are revoked, as in CertificateFacts, sorted
	Number      int64
	NextUpdate  time.Time
}

// FactsOfRevocationList reads them out.
func FactsOfRevocationList(list *x509.RevocationList) RevocationListFacts {
	facts := RevocationListFacts{IssuerKeyID: hex.EncodeToString(list.AuthorityKeyId), NextUpdate: list.NextUpdate.UTC()}
	if list.Number != nil && list.Number.IsInt64() {
		facts.Number = list.Number.Int64()
	}
	for _, entry := range list.RevokedCertificateEntries {
		facts.Serials = append(facts.Serials, entry.SerialNumber.Text(16))
	}
	slices.Sort(facts.Serials)
	return facts
}

// RevocationListNumbers are the numbers of lists, by the key identifiers of their issuers.
func RevocationListNumbers(lists []*x509.RevocationList) map[string]int64 {
	numbers := map[string]int64{}
	for _, list := range lists {
		facts := FactsOfRevocationList(list)
		numbers[facts.IssuerKeyID] = max(numbers[facts.IssuerKeyID], facts.Number)
	}
	return numbers
}
