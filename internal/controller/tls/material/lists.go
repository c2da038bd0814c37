package material

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// canaryPrefix is "canary". Certificates that are for use have random serial numbers of 40 digits.
const canaryPrefix = "63616e617279"

// CanarySerial is the canary of a list, by the list's number.
func CanarySerial(number int64) string { return fmt.Sprintf("%s%016x", canaryPrefix, number) }

func IsCanary(serial string) bool {
	return len(serial) == len(canaryPrefix)+16 && strings.HasPrefix(serial, canaryPrefix)
}

// inspectRevocation reads the lists of material. Lists that some anchor of the bundle beside them lacks are as bad as none: no
// agent takes them.
func inspectRevocation(m *facts.Material, secret *corev1.Secret, anchors []*x509.Certificate, now time.Time) {
	text, there := secret.Data[agentapi.RevocationLists]
	if !there {
		return
	}
	lists, err := pki.ParseRevocationLists(text)
	if err != nil || pki.CheckRevocationLists(lists, anchors, now) != nil {
		m.Altered = true
		return
	}
	m.Revoked, m.Lists = facts.Revocations{}, pki.RevocationListNumbers(lists)
	for _, list := range lists {
		details := pki.FactsOfRevocationList(list)
		m.Revoked[details.IssuerKeyID] = slices.DeleteFunc(details.Serials, IsCanary)
	}
}

// UpToDate reports whether a list holds exactly some serial numbers: then it need not be another one.
func UpToDate(list *x509.RevocationList, serials []string) bool {
	return list != nil && slices.Equal(slices.DeleteFunc(pki.FactsOfRevocationList(list).Serials, IsCanary), serials)
}
