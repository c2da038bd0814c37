package tls

import (
	"strconv"
	"strings"

	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation"
)

// Annotations and labels of the objects that this controller writes.
const (
	activateAnnotation     = "pgtls.dev/activate"           // on a pod: the revision to use
	nudgeAnnotation        = "pgtls.dev/nudge"              // on a pod: any new value, so that its kubelet looks again
	renewRequestAnnotation = "pgtls.dev/renew-requested-at" // on a PostgresCluster, by a user: any new value
	answeredAnnotation     = "pgtls.dev/renew-answered"     // on a material Secret: the request it was issued for
	revisionAnnotation     = "pgtls.dev/revision"           // on a material Secret, for people; on the record, to tell what somebody altered
	applicationLabel       = "pgtls.dev/application"        // on the Secret of an application's certificate: the user
	domainLabel            = "pgtls.dev/domain"             // on an authority's Secret
	generationLabel        = "pgtls.dev/generation"         // on an authority's Secret

	// On a PostgresCluster, by a user: what to do about an authority (docs/rotation.md).
	rotateRequestAnnotation  = "pgtls.dev/rotate-authority-requested-at" // server:<id> or client:<id>, any new id
	rollbackAnnotation       = "pgtls.dev/rollback-requested-at"         // server:<id> or client:<id>, any new id
	taintAnnotation          = "pgtls.dev/taint"                         // server-g1
	retireApprovedAnnotation = "pgtls.dev/retire-approved"               // server-g1, or server-<first of an anchor's fingerprint>
	adoptApprovedAnnotation  = "pgtls.dev/adopt-approved"                // content of a custom certificate, as the status tells it

	// On an authority's Secret: what was decided about it (rotation.Marks).
	answersAnnotation      = "pgtls.dev/answers"
	rollbackSeenAnnotation = "pgtls.dev/rollback-seen"
	switchedAnnotation     = "pgtls.dev/switched-at"
	rolledBackAnnotation   = "pgtls.dev/rolled-back"
	rolledBackByAnnotation = "pgtls.dev/rolled-back-because"
	retiredAnnotation      = "pgtls.dev/retired"

	authorityFinalizer = "pgtls.dev/authority" // holds an authority's Secret
)

// Keys of an authority's Secret and of the public ConfigMap.
const (
	authorityCertificate = "ca.crt"
	authorityKey         = "ca.key"
	forwardBridge        = "bridge.crt"      // this authority's key signed by the one before it, then that one's own bridge
	backwardBridge       = "back-bridge.crt" // the one before it signed by this one
)

const copySuffix = "-copy"

// authorityCommonName is unique per generation: OpenSSL takes authorities of one name for one.
func authorityCommonName(cluster string, domain rotation.Domain, generation string) string {
	return cluster + " " + string(domain) + " ca g" + generation
}

// authorityNamed reads the name of an authority's Secret, or of its copy; generation 0: it is none.
func authorityNamed(cluster, name string) (domain rotation.Domain, generation int) {
	name = strings.TrimSuffix(name, copySuffix)
	for _, domain := range rotation.Domains() {
		digits := strings.TrimPrefix(name, strings.TrimSuffix(desired.AuthoritySecret(cluster, string(domain), 0), "0"))
		if n := parseGeneration(digits); n > 0 && name == desired.AuthoritySecret(cluster, string(domain), n) {
			return domain, n
		}
	}
	return "", 0
}

func parseGeneration(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0
	}
	return n
}
