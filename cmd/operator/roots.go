package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
	ctrl "sigs.k8s.io/controller-runtime"
)

// systemRoots reads the public authorities from a file, or takes those that Mozilla trusts: the operator's image holds no file
// but the operator. What cannot be read is left out. They are read when they are first needed: most operators never do, and they
// take a megabyte.
func systemRoots(file string) []*x509.Certificate {
	if file == "" {
		return mozillas()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		ctrl.Log.Error(err, "reading the public authorities", "flag", "--system-roots")
		return nil
	}
	var roots []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if root, err := x509.ParseCertificate(block.Bytes); err == nil {
			roots = append(roots, root)
		}
	}
	return roots
}

// mozillas leaves out those that Mozilla trusts only for certificates of before some day: nothing here knows that day.
func mozillas() (roots []*x509.Certificate) {
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if certificate, err := x509.ParseCertificate(root.Certificate); err == nil {
			roots = append(roots, certificate)
		}
	}
	return roots
}
