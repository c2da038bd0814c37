package pgo

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestNoFieldOfPGOIsUnknown(t *testing.T) {
	schema := readSchema(t)
	for _, field := range fieldsOfPGO(t) {
		if !schema.Has(field) {
			t.Errorf("PGO has %s, and the API server would drop it: support it, or refuse it in api/v1beta1/pgo_types.go", field)
		}
	}
}

func TestOnlyFieldsOfPGOAreRefused(t *testing.T) {
	refused := readSchema(t).Refused()
	if len(refused) < 40 {
		t.Fatalf("found %d refused fields: are they refused in another way now?", len(refused))
	}
	fields := fieldsOfPGO(t)
	for field := range refused {
		if !slices.Contains(fields, field) {
			t.Errorf("%s is refused and no field of PGO: why is it in the list?", field)
		}
	}
}

// A row of the page is | `field` | what the API server says |.
func TestThePageSaysOfEachFieldWhatTheAPIServerSays(t *testing.T) {
	page := read(t, "docs", "coming-from-pgo.md")
	refused := readSchema(t).Refused()
	for _, field := range slices.Sorted(maps.Keys(refused)) {
		if row := "| `" + field + "` | " + strings.ReplaceAll(refused[field], "<", `\<`) + " |\n"; !strings.Contains(page, row) {
			t.Errorf("docs/coming-from-pgo.md lacks this row:\n%s", row)
		}
	}
}

func TestThePageNamesEveryFieldOfPGO(t *testing.T) {
	page := read(t, "docs", "coming-from-pgo.md")
	for _, field := range fieldsOfPGO(t) {
		if inside := strings.Contains(field, "TLSSecret."); !inside && !strings.Contains(page, "`"+field+"`") {
			t.Errorf("docs/coming-from-pgo.md does not name `%s`", field)
		}
	}
}

func TestARefusalGivesARemedy(t *testing.T) {
	for field, message := range readSchema(t).Refused() {
		if !strings.Contains(message, "; remove it") && !strings.Contains(message, " and remove it") {
			t.Errorf("%s: %q does not say what to do with the field", field, message)
		}
	}
}

// What is in the examples is what PGO documents, so each of their fields is one of PGO's.
func TestExamplesHoldFieldsOfPGOOnly(t *testing.T) {
	fields := fieldsOfPGO(t)
	files, err := filepath.Glob(filepath.Join(top, "examples", "pgo", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d examples (%v)", len(files), err)
	}
	for _, file := range append(files, filepath.Join("testdata", "original.yaml")) {
		for _, field := range fieldsIn(t, file) {
			if !slices.ContainsFunc(fields, func(known string) bool { return isAtOrUnder(field, known) }) {
				t.Errorf("%s: %s is no field of PGO", filepath.Base(file), field)
			}
		}
	}
}

// isAtOrUnder takes a field that the list gives without its parts, such as affinity, for the whole.
func isAtOrUnder(field, known string) bool {
	return field == known || strings.HasPrefix(field, known+".") && !hasParts[known]
}

// hasParts are the fields whose parts the list gives: those that hold more than one type of Kubernetes.
var hasParts = map[string]bool{
	"spec.instances": true, "spec.instances[]": true, "spec.patroni": true, "spec.proxy": true, "spec.proxy.pgBouncer": true,
	"spec.proxy.pgBouncer.config": true, "spec.proxy.pgBouncer.service": true, "spec.service": true, "spec.replicaService": true,
	"spec.customTLSSecret": true, "spec.customReplicationTLSSecret": true, "spec.proxy.pgBouncer.customTLSSecret": true,
}

const top = "../.."

func readSchema(t *testing.T) *Schema {
	t.Helper()
	schema, err := ReadSchema(filepath.Join(top, "config", "crd", "pgtls.dev_postgresclusters.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func fieldsOfPGO(t *testing.T) []string {
	t.Helper()
	var fields []string
	for line := range strings.Lines(read(t, "test", "pgo", "testdata", "fields.txt")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			fields = append(fields, line)
		}
	}
	return fields
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{top}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// fieldsIn lists the leaves of a manifest's spec.
func fieldsIn(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Spec map[string]any }
	if err := yaml.Unmarshal(content, &manifest); err != nil {
		t.Fatal(err)
	}
	var fields []string
	leaves("spec", manifest.Spec, func(field string) { fields = append(fields, field) })
	return fields
}

func leaves(path string, value any, visit func(string)) {
	switch typed := value.(type) {
	case map[string]any:
		for name, nested := range typed {
			leaves(path+"."+name, nested, visit)
		}
	case []any:
		for _, nested := range typed {
			leaves(path+"[]", nested, visit)
		}
	default:
		visit(strings.TrimSuffix(path, "[]"))
	}
}
