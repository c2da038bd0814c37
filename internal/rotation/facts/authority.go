package facts

import (
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Authority is a stored authority, or one whose Secret is gone and whose certificate stands in some bundle.
type Authority struct {
	Domain      Domain
	Generation  int
	Certificate pki.CertificateFacts
	// Created is when its Secret was made; zero when that is not known.
	Created time.Time
	// Problem says why it cannot sign: "" when it can.
	Problem reason.Code
	// Message goes with Problem.
	Message string
	// Original and Copy are the two Secrets that hold it. The operator keeps both, so that one is left when the other is deleted.
	Original, Copy Store
	// Remembered: neither Secret is stored, and the operator still has certificate and key in its memory.
	Remembered bool
	// Forward is this authority's key signed by the one before it, Backward the one before it signed by this one:
	// the bridges that were made together with it. Zero: there is none.
	Forward, Backward Bridge
	// Older is the bridge to the one before it, as that one had it: its own Secret goes away with it, and a verifier that trusts
	// only the one before that still needs it.
	Older Bridge
	// Marks are what was decided about it, and stands on its Secret.
	Marks
}

// Name is what an authority is called in blockers.
func (a *Authority) Name() string { return AuthorityName(a.Domain, a.Generation) }

// AuthorityName is what a generation of a domain is called in blockers.
func AuthorityName(domain Domain, generation int) string {
	return fmt.Sprintf("%s ca g%d", domain, generation)
}

// Usable reports whether an authority can sign now.
func (a *Authority) Usable(now time.Time) bool {
	return a.Problem == "" && !now.Before(a.Certificate.NotBefore) && now.Before(a.Certificate.NotAfter)
}

// Expired reports whether an authority has ended, with all that it issued: every verifier refuses it.
func (a *Authority) Expired(now time.Time) bool {
	return !a.Certificate.NotAfter.IsZero() && !now.Before(a.Certificate.NotAfter)
}

// Bridge is a cross-certificate: one authority vouches for another.
type Bridge struct {
	Fingerprint         string
	KeyID               string // of the authority that is vouched for
	IssuerKeyID         string // of the one that vouches
	NotBefore, NotAfter time.Time
}

// Until is when a bridge leaves the chains, some time before it ends: what is published is served for a while.
func (b Bridge) Until() time.Time {
	return b.NotAfter.Add(-min(time.Hour, b.NotAfter.Sub(b.NotBefore)/10))
}

// Marks are decisions about authorities that outlive a crash. Each is one write to the Secret of one authority, and each
// is only ever read together with the evidence: a mark that is removed makes the operator decide again.
//
// SwitchSigner, RollBack and DropOld of one re-key are noted on the same Secret, that of the generation which was brought in: of
// two operators that decide on different facts only one can write. See ADR 0024.
type Marks struct {
	Answered       string      // RekeyPolicy.Request that its creation, or a roll-back to it, answered
	RollbackSeen   string      // RekeyPolicy.Rollback that it has answered: as it was when it was made, or that undid it
	SwitchedAt     time.Time   // since when it is active; zero: it has not become so, unless it is the oldest
	RollbackReason reason.Code // why it was rolled back; "": it was not
	RolledBack     int         // the last generation that was rolled back in favour of this one and dropped; 0: none
	RolledBackBy   reason.Code // why
	Retired        []int       // generations that were dropped from trust while this one was active
}

// Store is the state of a Secret that holds an authority.
type Store struct {
	Present  bool
	Deleting bool // the Secret is being deleted and a finalizer that is not the operator's holds it
}
