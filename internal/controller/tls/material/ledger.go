package material

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/rotation/facts"
)

// ledgerEntry is what stands under a serial number.
type ledgerEntry struct {
	User      string     `json:"user,omitempty"`
	Issuer    string     `json:"issuer"` // key identifier
	IssuedAt  time.Time  `json:"issuedAt"`
	NotAfter  time.Time  `json:"notAfter"`
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
}

// ReadLedger returns the entries in the order of issue. One that cannot be read makes all of it unknown.
func ReadLedger(secret *corev1.Secret) (issued []facts.Issued, err error) {
	for serial, text := range secret.Data {
		var entry ledgerEntry
		if err := json.Unmarshal(text, &entry); err != nil || entry.Issuer == "" || entry.NotAfter.IsZero() {
			return nil, fmt.Errorf("reading what Secret %s says of certificate %s: %w", secret.Name, serial, err)
		}
		one := facts.Issued{User: entry.User, Serial: serial, IssuerKeyID: entry.Issuer, At: entry.IssuedAt, NotAfter: entry.NotAfter}
		if entry.RevokedAt != nil {
			one.RevokedAt = *entry.RevokedAt
		}
		issued = append(issued, one)
	}
	slices.SortFunc(issued, func(a, b facts.Issued) int {
		if order := a.At.Compare(b.At); order != 0 {
			return order
		}
		return strings.Compare(a.Serial, b.Serial)
	})
	return issued, nil
}

// LedgerData leaves out what has ended.
func LedgerData(issued []facts.Issued, now time.Time) (map[string][]byte, error) {
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
