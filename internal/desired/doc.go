// Package desired renders every Kubernetes object of a cluster from its spec.
// It is pure: what it needs to know beyond the spec are parameters. What the TLS controller owns (authorities, material
// Secrets, the ConfigMap with the trust bundle) is only named here.
package desired
