package wanted

import (
	"pgtls.dev/pgtls/api/v1beta1"
)

// Adoption is spec.tls.adoption.
func Adoption(cluster *v1beta1.PostgresCluster) string {
	if cluster.Spec.TLS == nil {
		return ""
	}
	return cluster.Spec.TLS.Adoption
}

// tlsSpec is spec.tls with nothing missing, so that no caller has to check for nil.
type Spec struct {
	Server v1beta1.ServerTLSSpec
	Client v1beta1.ClientTLSSpec

	rotation v1beta1.RotationSpec
}

func Of(cluster *v1beta1.PostgresCluster) Spec {
	var spec Spec
	if tls := cluster.Spec.TLS; tls != nil {
		if tls.Server != nil {
			spec.Server = *tls.Server
		}
		if tls.Client != nil {
			spec.Client = *tls.Client
		}
		if tls.Rotation != nil {
			spec.rotation = *tls.Rotation
		}
	}
	return spec
}
