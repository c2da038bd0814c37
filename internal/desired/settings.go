package desired

import "pgtls.dev/pgtls/api/v1beta1"

// Settings are the operator's own, the same for every cluster.
type Settings struct {
	ClusterDomain     string // DNS domain of the Kubernetes cluster, such as cluster.local
	OperatorNamespace string // where the operator runs; empty when it is not known
	Images            Images
}

// Images by default.
type Images struct {
	Postgres  map[int]string // by major version
	PGBouncer string
	Agent     string
}

func (s Settings) postgresImage(cluster *v1beta1.PostgresCluster) string {
	if cluster.Spec.Image != "" {
		return cluster.Spec.Image
	}
	return s.Images.Postgres[cluster.Spec.PostgresVersion]
}

func (s Settings) poolerImage(pooler *v1beta1.PGBouncerSpec) string {
	if pooler.Image != "" {
		return pooler.Image
	}
	return s.Images.PGBouncer
}
