package wanted

import (
	"slices"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Kinds of what a spec may name.
const (
	SecretKind    = "Secret"
	ConfigMapKind = "ConfigMap"
)

// ReferenceKey is an entry of the index.
func ReferenceKey(kind, name string) string { return kind + "/" + name }

// referencesOf are what a cluster's spec names, sorted.
func References(cluster *v1beta1.PostgresCluster) (keys []string) {
	for _, s := range Slots() {
		if projection := s.Source(cluster); projection != nil {
			keys = append(keys, ReferenceKey(SecretKind, projection.Name))
		}
	}
	spec := Of(cluster)
	for _, trust := range slices.Concat(spec.Server.AdditionalTrust, spec.Client.AdditionalTrust) {
		kind, key := TrustKey(trust)
		keys = append(keys, ReferenceKey(kind, key.Name))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func TrustKey(trust v1beta1.TrustSource) (kind string, key v1beta1.TrustKey) {
	if trust.ConfigMap != nil {
		return ConfigMapKind, *trust.ConfigMap
	}
	if trust.Secret != nil {
		return SecretKind, *trust.Secret
	}
	return SecretKind, v1beta1.TrustKey{}
}
