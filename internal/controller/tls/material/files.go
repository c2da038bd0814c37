package material

import (
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// ApplicationFiles are the keys of an application's Secret, by what its material calls them. They are what Kubernetes and
// cert-manager call them, so that other programs find them.
var ApplicationFiles = map[string]string{
	agentapi.ClientCertificate: corev1.TLSCertKey,
	agentapi.ClientKey:         corev1.TLSPrivateKeyKey,
	agentapi.ServerBundle:      "ca.crt",
}

// ProcessFiles are the keys of a material Secret that hold what the process beside the agent presents in a domain.
var ProcessFiles = map[facts.Domain]pairKeys{
	facts.Server: {agentapi.ServedCertificate, agentapi.ServedKey},
	facts.Client: {agentapi.PresentedCertificate, agentapi.PresentedKey},
}

// pairKeys are the keys of a Secret that hold a certificate and its private key.
type pairKeys struct{ Certificate, Key string }

// PairFiles are the keys of a material Secret that hold a domain's leaf.
var PairFiles = map[facts.Domain]pairKeys{
	facts.Server: {agentapi.ServerCertificate, agentapi.ServerKey},
	facts.Client: {agentapi.ClientCertificate, agentapi.ClientKey},
}

// BundleFiles are the keys of a material Secret that hold a domain's bundle.
var BundleFiles = map[facts.Domain]string{
	facts.Server: agentapi.ServerBundle,
	facts.Client: agentapi.ClientBundle,
}

// Usages is what a domain's leaves are presented as.
var Usages = map[facts.Domain]pki.Usage{
	facts.Server: pki.ServerAuth,
	facts.Client: pki.ClientAuth,
}
