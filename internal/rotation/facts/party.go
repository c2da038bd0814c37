package facts

import (
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// Party is something that presents or verifies certificates and has its own material.
type Party struct {
	Name     string // of its material Secret
	Kind     *Kind
	Wants    []LeafWant
	Customs  []Custom // what its process is to present in place of its own leaf, at most one in a domain
	Material Material
	Pods     []Pod // sorted by name; none for the operator and for applications

	User         string    // of an application: the role that it logs in as
	RevokeBefore time.Time // of an application: what was issued before is revoked once this time has come; zero: nothing
}

// LeafWant is a leaf that a party is to have.
type LeafWant struct {
	Domain     Domain
	CommonName string
	DNSNames   []string // sorted, lower case
	IPs        []string // sorted, canonical text
	CertificatePolicy
}

// Names reports whether a leaf's subject, as pki.Facts gives it, is the wanted one.
func (w *LeafWant) Names(subject string) bool {
	if w.CommonName == "" {
		return subject == ""
	}
	name, found := strings.CutPrefix(subject, "CN=")
	return found && name == w.CommonName
}

// MaterialState says what is known of a material Secret.
type MaterialState string

// The states of a material Secret.
const (
	Unknown MaterialState = ""        // could not be read: nothing is done about it
	Missing MaterialState = "Missing" // there is none
	Foreign MaterialState = "Foreign" // it is not the cluster's: never overwritten
	Present MaterialState = "Present" // it is there; what its parts are worth stands in Material
)

// Material is what a party's Secret holds.
type Material struct {
	State    MaterialState
	Revision string // pki.Revision over all of it
	// Answered is the last RenewRequest that this material was issued for.
	Answered string
	Leaves   []Leaf
	// Customs are what the process presents in place of the leaf of a domain.
	Customs []Custom
	// Anchors are what its bundles hold; nil where one does not parse.
	Anchors Bundles
	// Revoked is what stands on its revocation lists, and Lists their numbers.
	Revoked Revocations
	Lists   ListNumbers
	// Altered: it holds something besides what belongs there, so that no pod would take it.
	Altered bool
}

// Leaf is a leaf with its key as found in a material Secret.
type Leaf struct {
	Domain Domain
	// Problem is why it cannot be used (a pki.Reason), "" when it can.
	Problem string
	// Chain are the fingerprints of what is presented behind it: bridges.
	Chain []string
	pki.CertificateFacts
}

// Custom is an external certificate that the process of a party presents in place of the party's own leaf.
type Custom struct {
	Domain      Domain
	Fingerprint string // of the leaf
	IssuerKeyID string // of the issuer of the leaf: see pki.IssuerID
	Content     string // another one whenever chain or key is another
	// Anchors are the fingerprints of those to which its chain leads: a verifier needs one of them.
	Anchors             []string
	NotBefore, NotAfter time.Time
	// Problem is why what is in the material cannot be used (a pki.Reason), "" when it can.
	Problem string
	// Immediate: as it is wanted, it waits for no verifier.
	Immediate bool
	// Unapproved: its issuer is new, and a person is to approve it first.
	Unapproved bool
}

// ContentOf is what tells one custom certificate from another; "" is the own leaf.
func (c *Custom) ContentOf() string {
	if c == nil {
		return ""
	}
	return c.Content
}

// Leaf returns the leaf of a domain in a party's material, nil when there is none.
func (p *Party) Leaf(d Domain) *Leaf {
	for i := range p.Material.Leaves {
		if p.Material.Leaves[i].Domain == d {
			return &p.Material.Leaves[i]
		}
	}
	return nil
}

// WantsLeaf reports whether a party is to have a leaf of a domain.
func (p *Party) WantsLeaf(d Domain) bool {
	for i := range p.Wants {
		if p.Wants[i].Domain == d {
			return true
		}
	}
	return false
}

// Custom returns what a party is to present in a domain; nil: its own leaf.
func (p *Party) Custom(domain Domain) *Custom { return customIn(p.Customs, domain) }

// Custom returns what material presents in a domain; nil: its own leaf.
func (m *Material) Custom(domain Domain) *Custom { return customIn(m.Customs, domain) }

func customIn(customs []Custom, domain Domain) *Custom {
	for i := range customs {
		if customs[i].Domain == domain {
			return &customs[i]
		}
	}
	return nil
}

// Served returns the fingerprint of the leaf that a port of a party's pods is to serve, "" when there is none.
func (p *Party) Served(proof *Proof) string {
	if proof.Process {
		if c := p.Material.Custom(Server); c != nil {
			return c.Fingerprint
		}
	}
	if leaf := p.Leaf(Server); leaf != nil {
		return leaf.Fingerprint
	}
	return ""
}

// ShortestWindow is the shortest time before its end that one of a party's leaves is renewed. Of a custom certificate it is a
// third of its life: one of a few hours is not urgent from its first minute on.
func (p *Party) ShortestWindow() (window time.Duration) {
	for i := range p.Wants {
		if w := &p.Wants[i]; i == 0 || w.RenewBefore < window {
			window = w.RenewBefore
		}
	}
	for _, customs := range [...][]Custom{p.Customs, p.Material.Customs} {
		for i := range customs {
			if life := customs[i].NotAfter.Sub(customs[i].NotBefore); life > 0 { // that of a damaged one is not known
				window = min(window, life/3)
			}
		}
	}
	return window
}

// EndsIn returns the instant that is a while before the end of what a pod uses, and whether that is known.
func (p *Party) EndsIn(pod *Pod, while time.Duration) (time.Time, bool) {
	if pod.Report == nil || pod.Report.ActiveUntil.IsZero() || len(p.Wants) == 0 {
		return time.Time{}, false
	}
	return pod.Report.ActiveUntil.Add(-while), true
}

// PublishUrgentAt returns when one of a party's published leaves can wait for no
// gate any longer; zero when it has none.
func (p *Party) PublishUrgentAt(policy *Policy) (first time.Time) {
	for i := range p.Wants {
		w := &p.Wants[i]
		leaf := p.Leaf(w.Domain)
		if leaf == nil {
			continue
		}
		if at := leaf.NotAfter.Add(-policy.Patience(w.RenewBefore)); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
