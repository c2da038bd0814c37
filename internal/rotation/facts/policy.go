package facts

import (
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// Policy is what the user wants of certificates.
type Policy struct {
	// Authorities: life and key of each domain's authority.
	Authorities map[Domain]CertificatePolicy
	// RenewRequest is the value of the annotation pgtls.dev/renew-requested-at; "" asks for nothing.
	RenewRequest string
	// Rekey holds what is wanted of each domain's re-keying.
	Rekey map[Domain]RekeyPolicy
	// RetireSoak is how long an old authority stays trusted after its successor has become active.
	RetireSoak time.Duration
	// RetireManual: an old authority is dropped only when RekeyPolicy.Approved names it.
	RetireManual bool
	// Paused: nothing planned is begun, neither a re-key nor a renewal that can wait. A re-key that is under way goes on, for in
	// its middle is no place to stay.
	Paused bool
	// AutoRollback undoes a re-key of the server domain by itself when clients refuse what is served.
	AutoRollback AutoRollback
	// Windows are when what is planned may begin; nil: at any time. They hold a re-key that is under way as well.
	Windows Windows
	// WindowsInvalid says which windows are unparsable, and the remedy: until then nothing planned begins.
	WindowsInvalid string
	// UrgentBefore: what ends sooner than this waits neither for a window nor for the end of a pause; 0: a quarter of its RenewBefore.
	UrgentBefore time.Duration
	// TrustPropagationDelay is how long clients that follow the ConfigMap are given to take a new issuer before it is presented.
	TrustPropagationDelay time.Duration
	// ApprovedAnchors name the external trust anchors that may be dropped: the domain and the first 12 digits of the fingerprint.
	ApprovedAnchors []string
}

// AutoRollback is what clients must do for a re-key to be undone: refuse leaves of the new authority this many times, and
// this many times as often as they refused those of the old one.
type AutoRollback struct {
	Refusals int // 0: never
	Factor   int
}

// RekeyPolicy is what a user asks of one domain's authority. 0 and "" ask for nothing.
type RekeyPolicy struct {
	Request  string // id of pgtls.dev/rotate-authority-requested-at: a value that no authority has answered asks for a new one
	Rollback string // id of pgtls.dev/rollback-requested-at: a value that the newest authority had not seen when it was made undoes it
	Tainted  int    // generation that must not be trusted any longer
	Approved int    // generation that may be dropped
}

// CertificatePolicy is the life and key of a certificate.
type CertificatePolicy struct {
	Life        time.Duration
	RenewBefore time.Duration // how long before its end it is replaced
	Algorithm   pki.Algorithm
}

// Windows say when what is planned may begin. Both answers depend on nothing but the instant, and each is asked for at most once
// where it can be kept: a schedule is slow to read compared with the rest of a decision.
type Windows interface {
	// Opening returns the first instant at or after t at which a window is open: t itself while one is, else the exact opening,
	// in the zone that the user thinks in; zero: none will ever open.
	Opening(t time.Time) time.Time
	// Closing returns until when it is open, or an instant until which it is open at least.
	Closing(t time.Time) time.Time
}

// Check returns an error when the policy of a leaf or an authority makes no sense, such as a leaf without a life.
func (p *Policy) Check(parties []Party) error {
	for i := range parties {
		for _, w := range parties[i].Wants {
			if w.Life <= 0 || w.RenewBefore < 0 || w.RenewBefore >= w.Life {
				return fmt.Errorf("policy for the %s leaf of %s: renewBefore %s must be at least 0 and shorter than duration %s",
					w.Domain, parties[i].Name, w.RenewBefore, w.Life)
			}
		}
	}
	for _, domain := range Domains() {
		if a, managed := p.Authorities[domain]; managed && a.Life <= 0 {
			return fmt.Errorf("policy for the %s authority: duration %s must be above 0", domain, a.Life)
		}
	}
	return nil
}

// Restricted reports whether something planned may have to wait for a window or for the end of a pause.
func (p *Policy) Restricted() bool {
	return p.Paused || p.Windows != nil || p.WindowsInvalid != ""
}

// UrgentAt returns from when on what ends at an instant waits for no window. A quarter of its renewal window is left by default:
// so a leaf of 30 days, which is due 10 days before its end, has more than a week to meet a weekly window.
func (p *Policy) UrgentAt(end time.Time, renewBefore time.Duration) time.Time {
	return end.Add(-p.urgentBefore(renewBefore))
}

func (p *Policy) urgentBefore(renewBefore time.Duration) time.Duration {
	if p.UrgentBefore > 0 {
		return p.UrgentBefore
	}
	return renewBefore / 4
}

// Patience is how long before the end of a leaf it passes the gates. It must be after the leaf may begin without a window, or
// whatever waited that long would be renewed everywhere at once, without canary.
func (p *Policy) Patience(renewBefore time.Duration) time.Duration {
	usual := renewBefore / 2
	if !p.Restricted() {
		return usual
	}
	return min(usual, p.urgentBefore(renewBefore)/2)
}
