package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"pgtls.dev/pgtls/hack/devcluster/provisioner"
)

const masters = "system:masters"

// user is a name under which a part of the cluster speaks to the API server.
// Each has its own, so that the audit log names the writer of each write.
type user struct {
	file   string // of its kubeconfig
	name   string
	groups []string
}

func users(nodes []node) []user {
	all := []user{
		{"admin", "devcluster-admin", []string{masters}},
		{"kube-controller-manager", "system:kube-controller-manager", nil},
		{"kube-scheduler", "system:kube-scheduler", nil},
		{"kube-proxy", "system:kube-proxy", nil},
		// These two are parts of the throwaway cluster itself: roles of their own would protect nothing.
		{"coredns", "devcluster-coredns", []string{masters}},
		{"provisioner", provisioner.Name, []string{masters}},
	}
	for _, n := range nodes {
		all = append(all, user{n.daemon("kubelet"), "system:node:" + n.name(), []string{"system:nodes"}})
	}
	return all
}

// writeCredentials makes every certificate, key and kubeconfig of the cluster.
func writeCredentials(l layout, nodes []node, now time.Time) error {
	ca, err := newAuthority(now)
	if err != nil {
		return err
	}
	if err := writeFile(l.pki("ca.crt"), ca.certPEM(), 0o644); err != nil {
		return err
	}
	if err := writeServiceAccountKeys(l); err != nil {
		return err
	}
	if err := writeServers(l, ca, nodes, now); err != nil {
		return err
	}
	for _, u := range users(nodes) {
		if err := writeKubeconfig(l, ca, u, now); err != nil {
			return err
		}
	}
	pair, err := ca.client(now, "devcluster-apiserver", masters)
	if err != nil {
		return err
	}
	return writePair(l, "apiserver-to-kubelet", pair)
}

func writeServers(l layout, ca authority, nodes []node, now time.Time) error {
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain}
	addresses := []net.IP{net.ParseIP(apiServiceIP), net.ParseIP(controlPlane.address()), net.IPv4(127, 0, 0, 1)}
	pair, err := ca.server(now, names, addresses)
	if err != nil {
		return err
	}
	if err := writePair(l, "apiserver", pair); err != nil {
		return err
	}
	for _, n := range nodes {
		pair, err := ca.server(now, []string{n.name()}, []net.IP{net.ParseIP(n.address())})
		if err != nil {
			return err
		}
		if err := writePair(l, n.daemon("kubelet"), pair); err != nil {
			return err
		}
	}
	return nil
}

func writeServiceAccountKeys(l layout) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	private, err := keyPEM(key)
	if err != nil {
		return err
	}
	public, err := publicKeyPEM(key)
	if err != nil {
		return err
	}
	if err := writeFile(l.pki("service-account.key"), private, 0o600); err != nil {
		return err
	}
	return writeFile(l.pki("service-account.pub"), public, 0o644)
}

func writePair(l layout, name string, pair keyPair) error {
	if err := writeFile(l.pki(name+".crt"), pair.cert, 0o644); err != nil {
		return err
	}
	return writeFile(l.pki(name+".key"), pair.key, 0o600)
}

func writeKubeconfig(l layout, ca authority, u user, now time.Time) error {
	pair, err := ca.client(now, u.name, u.groups...)
	if err != nil {
		return err
	}
	const name = "devcluster"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: apiURL(), CertificateAuthorityData: ca.certPEM()}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.cert, ClientKeyData: pair.key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encoding kubeconfig of %s: %w", u.file, err)
	}
	return writeFile(l.kubeconfig(u.file), content, os.FileMode(0o600))
}
