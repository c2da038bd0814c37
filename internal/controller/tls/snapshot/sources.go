package snapshot

import (
	"crypto/x509"

	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Findings besides those of package custom.
const (
	SourceMissing     custom.Reason = "SourceMissing"     // there is no Secret or ConfigMap of that name, or it lacks the key
	SourceUnreadable  custom.Reason = "SourceUnreadable"  // it could not be read
	SourceReserved    custom.Reason = "SourceReserved"    // the operator itself writes it
	AwaitingIssuer    custom.Reason = "AwaitingIssuer"    // cert-manager has not filled the Secret yet
	IssuerUnavailable custom.Reason = "IssuerUnavailable" // there is no cert-manager
	RecordNotOwned                  = custom.Reason(reason.ForeignSecret)
	AnchorReserved    custom.Reason = "AnchorReserved"  // it bears the name of one of the cluster's own authorities
	AnchorAmbiguous   custom.Reason = "AnchorAmbiguous" // beside it verifiers would refuse what another one has issued
)

// Presented is a custom certificate with everything that is needed to present it.
type Presented struct {
	Slot     wanted.Slot
	Source   string // how it is called; "" for one of before
	Pair     *pki.KeyPair
	Anchors  []*x509.Certificate // that come with it
	Findings []custom.Finding
	Accepted bool // what the Secret holds now was accepted
	Facts    *facts.Custom
}

// ForeignAnchor is an anchor from elsewhere with its certificate.
type ExternalAnchor struct {
	Facts       facts.Anchor
	Certificate *x509.Certificate
	Bundled     bool // the record is gone or altered, and a bundle of the cluster holds it
}
