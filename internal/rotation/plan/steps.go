package plan

import (
	"fmt"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Step is one action. There is one type for each kind.
type Step interface {
	// Op is the kind of step, which is also what logs and events call it.
	Op() string
	// Key identifies what the step does to which object: the same in each round until it is done. A failure is remembered by it.
	Key() string
	// String returns the step in words.
	String() string
}

// CreateAuthority makes the first generation of a domain and stores it. It never overwrites.
type CreateAuthority struct {
	Domain     facts.Domain
	Generation int
	Reason     reason.Code
}

// RestoreAuthority stores an authority again under one of its two names, from the other Secret or from the operator's memory.
type RestoreAuthority struct {
	Domain     facts.Domain
	Generation int
	Copy       bool // the copy and not the original
	Reason     reason.Code
}

// TrustNew makes the next generation and stores it: from then on every bundle is to hold it. It never overwrites.
type TrustNew struct {
	Domain     facts.Domain
	Generation int
	Bridged    bool // it makes bridges between the new authority and the active one
	Active     int  // generation that signs the bridge
	Reason     reason.Code
	Message    string
}

// SwitchSigner notes that a generation is active from now on.
type SwitchSigner struct {
	Domain     facts.Domain
	Generation int
	Reason     reason.Code
}

// RollBack notes that a generation is rolled back: the one before it is active again, and its own leaves are replaced.
type RollBack struct {
	Domain     facts.Domain
	Generation int // that is rolled back, and on whose Secret that is noted
	To         int // that is active from then on
	Reason     reason.Code
	Message    string
}

// DropOld notes that from now on no bundle is to hold a generation that nothing uses.
type DropOld struct {
	Domain     facts.Domain
	Generation int
	Active     int // on whose Secret that is noted
	Reason     reason.Code
}

// DiscardAuthority deletes the Secrets of a generation that was dropped and that no bundle holds.
type DiscardAuthority struct {
	Domain     facts.Domain
	Generation int
	Reason     reason.Code
}

// AdmitAnchor notes an external trust anchor: from then on every bundle is to hold it.
type AdmitAnchor struct{ AnchorStep }

// NoteUnused notes since when nothing needs an external trust anchor.
type NoteUnused struct{ AnchorStep }

// DropAnchor notes that from now on no bundle is to hold an external trust anchor.
type DropAnchor struct{ AnchorStep }

// AnchorStep is what the steps about external trust anchors have in common.
type AnchorStep struct {
	Domain  facts.Domain
	Anchor  string // fingerprint
	Subject string
	Reason  reason.Code
}

// PublishTrust writes the ConfigMap with the bundle for clients.
type PublishTrust struct {
	Anchors []string // fingerprints, sorted
	Reason  reason.Code
}

// Publish writes a party's material: what is said here, and of the rest what it holds.
type Publish struct {
	Party string
	// Reissue are the domains whose leaf is issued anew; the other leaf is kept.
	Reissue []facts.Domain
	// Active are the generations that sign what is reissued.
	Active PerDomain[int]
	// Chain are the fingerprints of the bridges that are presented behind each leaf, as it is afterwards.
	Chain PerDomain[[]string]
	// Anchors are the fingerprints of what each bundle holds afterwards; nil: it holds what it did.
	Anchors facts.Bundles
	// Adopt are the domains in which the process presents the custom certificate that is wanted from then on; Own those in which
	// it presents the party's own leaf again. In the others it goes on presenting what it does.
	Adopt, Own []facts.Domain
	// Lists are what stands on the revocation lists of an instance afterwards; nil: there are none.
	Lists facts.Revocations
	// KeepLists: the lists stay as they are.
	KeepLists bool
	Reason    reason.Code
}

// Discard deletes material that no party wants or uses any more.
type Discard struct {
	Party  string
	Reason reason.Code
}

// TakeBack makes the cluster the controller of an object of its own again, after a restore from a backup or an orphaning delete.
type TakeBack struct{ Object facts.Object }

// Activate asks a pod to use its party's material.
type Activate struct {
	Party, Pod string
	// Revision to activate. "" after a Publish in the same lane: the one that it made.
	Revision string
	Reason   reason.Code
}

// Retrigger makes the kubelet look again at a pod that was asked and has not got the files.
type Retrigger struct{ Party, Pod, Revision string }

// Prove makes a handshake with each port of a pod.
type Prove struct{ Party, Pod, Revision string }

// Revoke notes that certificates of applications must not be accepted any longer.
type Revoke struct {
	Serials []string
	Reason  reason.Code
}

// EndSessions ends a pod's sessions that came in with revoked certificates.
type EndSessions struct{ Party, Pod string }

// Op implements Step.
func (CreateAuthority) Op() string  { return "CreateAuthority" }
func (RestoreAuthority) Op() string { return "RestoreAuthority" }
func (TrustNew) Op() string         { return "TrustNew" }
func (SwitchSigner) Op() string     { return "SwitchSigner" }
func (RollBack) Op() string         { return "RollBack" }
func (DropOld) Op() string          { return "DropOld" }
func (DiscardAuthority) Op() string { return "DiscardAuthority" }
func (AdmitAnchor) Op() string      { return "AdmitAnchor" }
func (NoteUnused) Op() string       { return "NoteUnused" }
func (DropAnchor) Op() string       { return "DropAnchor" }
func (PublishTrust) Op() string     { return "PublishTrust" }
func (Publish) Op() string          { return "Publish" }
func (Discard) Op() string          { return "Discard" }
func (TakeBack) Op() string         { return "TakeBack" }
func (Activate) Op() string         { return "Activate" }
func (Retrigger) Op() string        { return "Retrigger" }
func (Prove) Op() string            { return "Prove" }
func (Revoke) Op() string           { return "Revoke" }
func (EndSessions) Op() string      { return "EndSessions" }

func authorityKey(op string, domain facts.Domain, generation int) string {
	return fmt.Sprintf("%s %s g%d", op, domain, generation)
}

func (a *AnchorStep) key(op string) string { return fmt.Sprintf("%s %s %.12s", op, a.Domain, a.Anchor) }

// Key implements Step.
func (s CreateAuthority) Key() string { return authorityKey(s.Op(), s.Domain, s.Generation) }
func (s RestoreAuthority) Key() string {
	if s.Copy {
		return authorityKey(s.Op(), s.Domain, s.Generation) + " copy"
	}
	return authorityKey(s.Op(), s.Domain, s.Generation)
}
func (s TrustNew) Key() string         { return authorityKey(s.Op(), s.Domain, s.Generation) }
func (s SwitchSigner) Key() string     { return authorityKey(s.Op(), s.Domain, s.Generation) }
func (s RollBack) Key() string         { return authorityKey(s.Op(), s.Domain, s.Generation) }
func (s DropOld) Key() string          { return authorityKey(s.Op(), s.Domain, s.Generation) }
func (s DiscardAuthority) Key() string { return authorityKey(s.Op(), s.Domain, s.Generation) }
func (s AdmitAnchor) Key() string      { return s.key(s.Op()) }
func (s NoteUnused) Key() string       { return s.key(s.Op()) }
func (s DropAnchor) Key() string       { return s.key(s.Op()) }
func (s PublishTrust) Key() string     { return s.Op() }
func (s Publish) Key() string          { return s.Op() + " " + s.Party }
func (s Discard) Key() string          { return s.Op() + " " + s.Party }
func (s TakeBack) Key() string         { return s.Op() + " " + s.Object.String() }
func (s Activate) Key() string         { return s.Op() + " " + s.Pod }
func (s Retrigger) Key() string        { return s.Op() + " " + s.Pod }
func (s Prove) Key() string            { return s.Op() + " " + s.Pod }
func (s Revoke) Key() string           { return s.Op() }
func (s EndSessions) Key() string      { return s.Op() + " " + s.Pod }

// String implements Step.
func (s CreateAuthority) String() string  { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s RestoreAuthority) String() string { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s TrustNew) String() string         { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s SwitchSigner) String() string     { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s RollBack) String() string         { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s DropOld) String() string          { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s DiscardAuthority) String() string { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s AdmitAnchor) String() string      { return fmt.Sprintf("%s %s (%s)", s.Key(), s.Subject, s.Reason) }
func (s NoteUnused) String() string       { return fmt.Sprintf("%s %s (%s)", s.Key(), s.Subject, s.Reason) }
func (s DropAnchor) String() string       { return fmt.Sprintf("%s %s (%s)", s.Key(), s.Subject, s.Reason) }
func (s PublishTrust) String() string     { return fmt.Sprintf("%s (%s)", s.Op(), s.Reason) }
func (s Publish) String() string {
	return fmt.Sprintf("%s %v%s (%s)", s.Key(), s.Reissue, s.Presents(), s.Reason)
}
func (s Discard) String() string     { return fmt.Sprintf("%s (%s)", s.Key(), s.Reason) }
func (s TakeBack) String() string    { return s.Key() }
func (s Activate) String() string    { return fmt.Sprintf("%s %s (%s)", s.Key(), s.Revision, s.Reason) }
func (s Retrigger) String() string   { return fmt.Sprintf("%s (%s)", s.Key(), reason.Undelivered) }
func (s Prove) String() string       { return fmt.Sprintf("%s (%s)", s.Key(), reason.Unproven) }
func (s Revoke) String() string      { return fmt.Sprintf("%s %v (%s)", s.Op(), s.Serials, s.Reason) }
func (s EndSessions) String() string { return fmt.Sprintf("%s (%s)", s.Key(), reason.Revoked) }

// Presents says what the process is to present from then on, where that changes.
func (s Publish) Presents() (text string) {
	if len(s.Adopt) > 0 {
		text += fmt.Sprintf(" custom %v", s.Adopt)
	}
	if len(s.Own) > 0 {
		text += fmt.Sprintf(" own %v", s.Own)
	}
	return text
}
