// Package pgo compares the CRD with Crunchy PGO's PostgresCluster: no field of PGO may be dropped without a word.
package pgo

import (
	"fmt"
	"os"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// Schema of a PostgresCluster.
type Schema struct {
	root apiextensionsv1.JSONSchemaProps
}

// ReadSchema reads the CRD's only version.
func ReadSchema(file string) (*Schema, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &definition); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", file, err)
	}
	if n := len(definition.Spec.Versions); n != 1 {
		return nil, fmt.Errorf("%s has %d versions, want 1", file, n)
	}
	return &Schema{*definition.Spec.Versions[0].Schema.OpenAPIV3Schema}, nil
}

// Refused returns the fields that are refused whatever they hold, with the message. A field is written as
// spec.instances[].sidecars.
func (s *Schema) Refused() map[string]string {
	refused := map[string]string{}
	walk("", s.root, func(path string, field apiextensionsv1.JSONSchemaProps) {
		for _, rule := range field.XValidations {
			if rule.Rule == "false" {
				refused[path] = rule.Message
			}
		}
	})
	return refused
}

// Has says whether the schema knows the field.
func (s *Schema) Has(path string) bool {
	found := false
	walk("", s.root, func(known string, _ apiextensionsv1.JSONSchemaProps) { found = found || known == path })
	return found
}

func walk(path string, field apiextensionsv1.JSONSchemaProps, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	visit(path, field)
	for name, nested := range field.Properties {
		walk(strings.TrimPrefix(path+"."+name, "."), nested, visit)
	}
	if field.Items != nil && field.Items.Schema != nil {
		walk(path+"[]", *field.Items.Schema, visit)
	}
}
