package act

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// issuedTo says in one line what was issued.
func issuedTo(entry facts.Issued) string {
	if entry.User == "" {
		return "certificate " + entry.Serial
	}
	return fmt.Sprintf("certificate %s of user %s", entry.Serial, entry.User)
}

// revoke notes that certificates must not be accepted any longer. From then on every plan has them on a list.
func revoke(ctx context.Context, v *round, step plan.Revoke) error {
	issued := slices.Clone(v.Observed.Ledger.Issued)
	var revoked []facts.Issued
	for i := range issued {
		if slices.Contains(step.Serials, issued[i].Serial) {
			issued[i].RevokedAt = v.Observed.Now.UTC().Truncate(time.Second)
			revoked = append(revoked, issued[i])
		}
	}
	if err := writeLedger(ctx, v, issued); err != nil {
		return err
	}
	for _, one := range revoked {
		sendEvent(v, eventNormal, eventRevoked, "%s is revoked (%s)", issuedTo(one), step.Reason)
	}
	return nil
}
