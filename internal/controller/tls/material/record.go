package material

import (
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Keys of the record end with these.
const (
	AnchorSuffix = ".crt"          // the certificate
	SinceSuffix  = ".admitted-at"  // RFC 3339
	UnusedSuffix = ".unused-since" // RFC 3339
)

// RecordKey is what the keys of an anchor begin with.
func RecordKey(domain facts.Domain, fingerprint string) string {
	return fmt.Sprintf("%s-%s", domain, fingerprint)
}

// TimeIn returns zero for what is no time.
func TimeIn(text []byte) time.Time {
	at, err := time.Parse(TimeLayout, string(text))
	if err != nil {
		return time.Time{}
	}
	return at
}
