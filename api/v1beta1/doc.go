// Package v1beta1 is the contract with users: the PostgresCluster resource of
// the API group pgtls.dev.
//
// A field that means the same as in Crunchy PGO has the same name. What pgtls
// adds stands under spec.tls. Validation is by CEL rules in the CRD; there is no
// webhook, so there is no webhook certificate that could expire.
//
// +kubebuilder:object:generate=true
// +groupName=pgtls.dev
package v1beta1

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
)

var (
	// GroupVersion of every kind in this package.
	GroupVersion = schema.GroupVersion{Group: "pgtls.dev", Version: "v1beta1"}

	schemeBuilder = &scheme.Builder{GroupVersion: GroupVersion}

	// AddToScheme registers the kinds of this package.
	AddToScheme = schemeBuilder.AddToScheme
)

func init() { schemeBuilder.Register(&PostgresCluster{}, &PostgresClusterList{}) }
