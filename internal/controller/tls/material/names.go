package material

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// GenerationNamed returns the generation that a certificate's subject or
// issuer names ("CN=hippo server ca g3"), 0 if none.
func GenerationNamed(cluster string, domain facts.Domain, name string) int {
	rest, ok := strings.CutPrefix(name, "CN="+AuthorityCommonName(cluster, domain, ""))
	if !ok {
		return 0
	}
	return ParseGeneration(rest)
}

// Annotations and labels of the objects that this controller writes.
const (
	ActivateAnnotation     = "pgtls.dev/activate"           // on a pod: the revision to use
	RetriggerAnnotation    = "pgtls.dev/retrigger"          // on a pod: each new value triggers its kubelet once more
	RenewRequestAnnotation = "pgtls.dev/renew-requested-at" // on a PostgresCluster, by a user: any new value
	AnsweredAnnotation     = "pgtls.dev/renew-answered"     // on a material Secret: the request it was issued for
	ChangedAnnotation      = "pgtls.dev/changed-at"         // on the clients' ConfigMap: when its bundle was last written
	RevisionAnnotation     = "pgtls.dev/revision"           // on a material Secret, for people; on the record, to detect that it was altered
	ApplicationLabel       = "pgtls.dev/application"        // on the Secret of an application's certificate: the user
	DomainLabel            = "pgtls.dev/domain"             // on an authority's Secret
	GenerationLabel        = "pgtls.dev/generation"         // on an authority's Secret

	// On a PostgresCluster, by a user: what to do about an authority (docs/rotation.md).
	RotateRequestAnnotation  = "pgtls.dev/rotate-authority-requested-at" // server:<id> or client:<id>, any new id
	RollbackAnnotation       = "pgtls.dev/rollback-requested-at"         // server:<id> or client:<id>, any new id
	TaintAnnotation          = "pgtls.dev/taint"                         // server-g1
	RetireApprovedAnnotation = "pgtls.dev/retire-approved"               // server-g1, or server-<first of an anchor's fingerprint>
	AdoptApprovedAnnotation  = "pgtls.dev/adopt-approved"                // content of a custom certificate, as the status tells it

	// On an authority's Secret: what was decided about it (rotation.Marks).
	AnswersAnnotation        = "pgtls.dev/answers"
	RollbackSeenAnnotation   = "pgtls.dev/rollback-seen"
	SwitchedAnnotation       = "pgtls.dev/switched-at"
	RollbackReasonAnnotation = "pgtls.dev/rollback-reason"
	RolledBackAnnotation     = "pgtls.dev/rolled-back"
	RolledBackByAnnotation   = "pgtls.dev/rolled-back-because"
	RetiredAnnotation        = "pgtls.dev/retired"

	AuthorityFinalizer = "pgtls.dev/authority" // holds an authority's Secret
)

// Keys of an authority's Secret and of the public ConfigMap.
const (
	AuthorityCertificate = "ca.crt"
	AuthorityKey         = "ca.key"
	ForwardBridge        = "bridge.crt"      // this authority's key signed by the one before it, then that one's own bridge
	BackwardBridge       = "back-bridge.crt" // the one before it signed by this one
)

const CopySuffix = "-copy"

// AuthorityCommonName is unique per generation: OpenSSL takes authorities of one name for one.
func AuthorityCommonName(cluster string, domain facts.Domain, generation string) string {
	return cluster + " " + string(domain) + " ca g" + generation
}

// AuthorityNamed reads the name of an authority's Secret, or of its copy; generation 0: it is none.
func AuthorityNamed(cluster, name string) (domain facts.Domain, generation int) {
	name = strings.TrimSuffix(name, CopySuffix)
	for _, domain := range facts.Domains() {
		digits := strings.TrimPrefix(name, strings.TrimSuffix(desired.AuthoritySecret(cluster, string(domain), 0), "0"))
		if n := ParseGeneration(digits); n > 0 && name == desired.AuthoritySecret(cluster, string(domain), n) {
			return domain, n
		}
	}
	return "", 0
}

func ParseGeneration(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || strconv.Itoa(n) != text {
		return 0
	}
	return n
}

const TimeLayout = time.RFC3339

// GenerationName is what a generation is called in annotations and status, such as server-g1; "" for none.
func GenerationName(domain facts.Domain, generation int) string {
	if generation == 0 {
		return ""
	}
	return fmt.Sprintf("%s-g%d", domain, generation)
}
