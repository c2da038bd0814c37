package gather

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

const (
	secretKind    = "Secret"
	configMapKind = "ConfigMap"
)

// belongs reports whether an object is the cluster's. One that it may take back is noted as such, and counts as its own at once:
// what it holds is judged like that of any other.
func (v *look) belongs(kind string, object client.Object) bool {
	verdict := kube.Judge(object, v.Claimant())
	if verdict.Takeable() {
		v.unowned(kind, object)
	}
	return verdict.Belongs()
}

// belongsAsAuthority is belongs for the Secret of an authority, which is taken back only when certificate, key and generation agree.
func (v *look) belongsAsAuthority(secret *corev1.Secret) bool {
	verdict := kube.Judge(secret, v.Claimant())
	if !verdict.Takeable() {
		return verdict.Ours()
	}
	domain, generation := material.AuthorityNamed(v.Cluster.Name, secret.Name)
	authority, err := pki.ParseAuthority(secret.Data[material.AuthorityCertificate], secret.Data[material.AuthorityKey])
	if err != nil || material.GenerationNamed(v.Cluster.Name, domain, pki.Facts(authority.Certificate).Subject) != generation {
		return false
	}
	v.unowned(secretKind, secret)
	return true
}

// unowned notes an object that is to be taken back.
func (v *look) unowned(kind string, object client.Object) {
	name := facts.Object{Kind: kind, Name: object.GetName()}
	if v.Unowned[name] == nil {
		v.Unowned[name] = object
		v.Observed.Unowned = append(v.Observed.Unowned, name)
	}
}

// ofSomeCluster reports whether an object is, or was, the work of the operator for any PostgresCluster: it is no source of
// custom certificates.
func ofSomeCluster(object client.Object) bool {
	owner := metav1.GetControllerOf(object)
	return object.GetLabels()[desired.ComponentLabel] == desired.TLSComponent ||
		owner != nil && owner.Kind == "PostgresCluster" && strings.HasPrefix(owner.APIVersion, v1beta1.GroupVersion.Group+"/")
}
