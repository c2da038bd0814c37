package wanted

import (
	"strings"

	"pgtls.dev/pgtls/internal/rotation/facts"
)

// approvedAnchors are the anchors of a domain that an annotation names.
func approvedAnchors(annotation string, domain facts.Domain) (names []string) {
	for part := range strings.SplitSeq(annotation, ",") {
		if part = strings.TrimSpace(part); strings.HasPrefix(part, string(domain)+"-") {
			names = append(names, part)
		}
	}
	return names
}

// valueFor returns what stands behind a prefix in an annotation that may hold something for each domain: "server:1,client:7".
func valueFor(annotation, prefix string) string {
	for part := range strings.SplitSeq(annotation, ",") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(part), prefix); ok {
			return value
		}
	}
	return ""
}
