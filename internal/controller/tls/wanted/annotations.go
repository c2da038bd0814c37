package wanted

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// annotationPrefix begins every annotation of a PostgresCluster that the operator reads.
const annotationPrefix = "pgtls.dev/"

// Invalid is a part of an annotation that asks for nothing the operator understands.
type Invalid struct {
	Annotation string
	Value      string // the part
	Problem    string
	Grammar    string
}

// String says what is wrong, where, and what may stand there.
func (i Invalid) String() string {
	return fmt.Sprintf("annotation %s: %q %s: write %s", i.Annotation, i.Value, i.Problem, i.Grammar)
}

// Requests are what the annotations of a cluster ask for.
type Requests struct {
	Rotate   map[facts.Domain]string
	Rollback map[facts.Domain]string
	Tainted  map[facts.Domain]int
	Retire   map[facts.Domain]int // generations that may be dropped
	Anchors  []string             // external anchors that may be dropped, as domain-<12 hexadecimal digits>
	Adopt    []string             // contents of custom certificates that may be presented
	Invalid  []Invalid
}

// Grammars of the annotations.
const (
	idGrammar         = "server:<id> or client:<id> with any new id, or both with a comma between them"
	generationGrammar = "a generation such as server-g1 or client-g2, or one of each domain with a comma between them"
	retireGrammar     = "generations such as server-g1, or anchors such as server-0123456789ab (the first 12 digits of the fingerprint), with commas between them"
	contentGrammar    = "the 12 hexadecimal digits of the certificate as the condition names it, several with commas between them"
)

// digits are the first of a fingerprint or of a content.
var digits = regexp.MustCompile(`^[0-9a-f]{12}$`)

// RequestsOf reads the annotations of a cluster. Each is read strictly: what is not understood is named, and asks for nothing.
func RequestsOf(cluster *v1beta1.PostgresCluster) Requests {
	r := Requests{Rotate: map[facts.Domain]string{}, Rollback: map[facts.Domain]string{}, Tainted: map[facts.Domain]int{}, Retire: map[facts.Domain]int{}}
	readers := map[string]func(annotation, part string){
		material.RenewRequestAnnotation:   func(string, string) {}, // any value
		material.RotateRequestAnnotation:  func(a, part string) { r.id(a, part, r.Rotate) },
		material.RollbackAnnotation:       func(a, part string) { r.id(a, part, r.Rollback) },
		material.TaintAnnotation:          func(a, part string) { r.generation(a, part, generationGrammar, r.Tainted) },
		material.RetireApprovedAnnotation: r.retire,
		material.AdoptApprovedAnnotation:  r.adopt,
	}
	for _, annotation := range slices.Sorted(maps.Keys(cluster.Annotations)) {
		if !strings.HasPrefix(annotation, annotationPrefix) {
			continue
		}
		read, known := readers[annotation]
		if !known {
			r.refuse(annotation, cluster.Annotations[annotation], "is the value of an annotation that the operator does not know", "one of "+strings.Join(slices.Sorted(maps.Keys(readers)), ", "))
			continue
		}
		if cluster.Annotations[annotation] == "" {
			continue // asks for nothing
		}
		for part := range strings.SplitSeq(cluster.Annotations[annotation], ",") {
			read(annotation, strings.TrimSpace(part))
		}
	}
	return r
}

func (r *Requests) refuse(annotation, value, problem, grammar string) {
	r.Invalid = append(r.Invalid, Invalid{annotation, value, problem, grammar})
}

// id reads "server:monday".
func (r *Requests) id(annotation, part string, into map[facts.Domain]string) {
	name, id, found := strings.Cut(part, ":")
	domain := facts.Domain(name)
	switch {
	case !found || !slices.Contains(facts.Domains(), domain):
		r.refuse(annotation, part, "names no trust domain", idGrammar)
	case id == "":
		r.refuse(annotation, part, "has no id", idGrammar)
	case into[domain] != "":
		r.refuse(annotation, part, "is the second id of its domain", idGrammar)
	default:
		into[domain] = id
	}
}

// generation reads "server-g1".
func (r *Requests) generation(annotation, part, grammar string, into map[facts.Domain]int) {
	name, number, _ := strings.Cut(part, "-g")
	domain, n := facts.Domain(name), material.ParseGeneration(number)
	switch {
	case n == 0 || !slices.Contains(facts.Domains(), domain):
		r.refuse(annotation, part, "names no generation", grammar)
	case into[domain] != 0:
		r.refuse(annotation, part, "is the second generation of its domain", grammar)
	default:
		into[domain] = n
	}
}

// retire reads a generation, or an external anchor such as "server-0123456789ab".
func (r *Requests) retire(annotation, part string) {
	name, anchor, _ := strings.Cut(part, "-")
	if slices.Contains(facts.Domains(), facts.Domain(name)) && digits.MatchString(anchor) {
		r.Anchors = append(r.Anchors, part)
		return
	}
	r.generation(annotation, part, retireGrammar, r.Retire)
}

// adopt reads the content of a custom certificate.
func (r *Requests) adopt(annotation, part string) {
	if !digits.MatchString(part) {
		r.refuse(annotation, part, "is no content of a certificate", contentGrammar)
		return
	}
	r.Adopt = append(r.Adopt, part)
}

// Unknown returns the requests that are about a generation which was never made, by the highest generation of each domain.
func (r *Requests) Unknown(highest map[facts.Domain]int) (invalid []Invalid) {
	for _, named := range []struct {
		annotation  string
		generations map[facts.Domain]int
	}{{material.TaintAnnotation, r.Tainted}, {material.RetireApprovedAnnotation, r.Retire}} {
		for _, domain := range facts.Domains() {
			if n := named.generations[domain]; n > highest[domain] {
				invalid = append(invalid, Invalid{named.annotation, material.GenerationName(domain, n), "names a generation that does not exist",
					fmt.Sprintf("one up to %s", material.GenerationName(domain, max(highest[domain], 1)))})
			}
		}
	}
	return invalid
}
