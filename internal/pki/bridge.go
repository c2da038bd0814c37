package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"
)

// BridgeRequest asks an authority to vouch for another one.
type BridgeRequest struct {
	// Subject is the other authority's own certificate. Its name, key and subject key identifier are taken as they stand.
	Subject *x509.Certificate
	// NotBefore and NotAfter are cut to whole seconds, and to the validity of both authorities.
	NotBefore, NotAfter time.Time
}

// bridgeMaxPathLen lets one more bridge stand below: leaf, g3 by g2, g2 by g1, for a verifier that holds g1 alone.
const bridgeMaxPathLen = 1

// Bridge makes a cross-certificate: another authority's name and key under this one's signature. A verifier that holds this
// authority alone is led by it to leaves of the other.
//
// The subject key identifier is that of the subject's own certificate, byte for byte: another one would make it another
// issuer to OpenSSL.
//
// Errors: NotCA, KeyIdentifierMissing, NotSelfSigned (the subject is this authority, or has its name), ValidityMalformed.
func (a *Authority) Bridge(r BridgeRequest) (*x509.Certificate, error) {
	if err := checkAnchor("the authority to be vouched for", r.Subject); err != nil {
		return nil, err
	}
	if bytes.Equal(r.Subject.RawSubject, a.Certificate.RawSubject) || bytes.Equal(r.Subject.RawSubjectPublicKeyInfo, a.Certificate.RawSubjectPublicKeyInfo) {
		return nil, refuse(NotSelfSigned, "vouch for an authority of another name and key", "authority %s would vouch for itself", a.Certificate.Subject)
	}
	notBefore, notAfter, err := validity(
		latest(r.NotBefore, r.Subject.NotBefore, a.Certificate.NotBefore), earliest(r.NotAfter, r.Subject.NotAfter, a.Certificate.NotAfter))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               r.Subject.Subject,
		RawSubject:            r.Subject.RawSubject,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            bridgeMaxPathLen,
		SubjectKeyId:          r.Subject.SubjectKeyId,
		AuthorityKeyId:        a.Certificate.SubjectKeyId,
	}
	bridge, err := sign(template, a.Certificate, r.Subject.PublicKey, a.Key)
	if err != nil {
		return nil, fmt.Errorf("signing a bridge to %s: %w", r.Subject.Subject, err)
	}
	return bridge, nil
}

func latest(times ...time.Time) time.Time {
	last := times[0]
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
