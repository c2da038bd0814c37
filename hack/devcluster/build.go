package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pgtls.dev/pgtls/hack/buildcache"
)

var kubernetesBinaries = []string{
	"kube-apiserver",
	"kube-controller-manager",
	"kube-scheduler",
	"kubelet",
	"kube-proxy",
	"kubectl",
}

// products are all that a cluster needs built.
type products struct {
	kubernetes, coreDNS, pause buildcache.Product
}

func (p products) all() []buildcache.Product {
	return []buildcache.Product{p.kubernetes, p.coreDNS, p.pause}
}

// describeProducts reads the sources below hack/devcluster of the module at root.
func describeProducts(root string) (products, error) {
	source := filepath.Join(root, "hack", "devcluster")
	kubernetes, err := kubernetesProduct(filepath.Join(source, "kubernetes"))
	if err != nil {
		return products{}, err
	}
	coreDNS, err := coreDNSProduct(filepath.Join(source, "coredns"))
	if err != nil {
		return products{}, err
	}
	pause, err := pauseProduct(filepath.Join(source, "pause"))
	if err != nil {
		return products{}, err
	}
	return products{kubernetes: kubernetes, coreDNS: coreDNS, pause: pause}, nil
}

func kubernetesProduct(source string) (buildcache.Product, error) {
	version, err := buildcache.RequiredVersion(source, "k8s.io/kubernetes")
	if err != nil {
		return buildcache.Product{}, err
	}
	ldflags, err := kubernetesLDFlags(version)
	if err != nil {
		return buildcache.Product{}, err
	}
	digest, err := buildcache.DigestOf(source, ldflags)
	if err != nil {
		return buildcache.Product{}, err
	}
	var packages []string
	for _, name := range kubernetesBinaries {
		packages = append(packages, "k8s.io/kubernetes/cmd/"+name)
	}
	return buildcache.Product{
		Name:  "kubernetes-" + version + "-" + digest,
		Files: kubernetesBinaries,
		Fill: func(ctx context.Context, dir string) error {
			return buildcache.GoBuild(ctx, source, dir+"/", ldflags, packages...)
		},
	}, nil
}

// kubernetesLDFlags makes the binaries tell their version, on which clients and
// kubelet decide what they may use.
func kubernetesLDFlags(version string) (string, error) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("kubernetes version %q is not of the form vMAJOR.MINOR.PATCH", version)
	}
	const variable = "k8s.io/component-base/version."
	return strings.Join([]string{
		"-s -w",
		"-X " + variable + "gitVersion=" + version,
		"-X " + variable + "gitMajor=" + parts[0],
		"-X " + variable + "gitMinor=" + parts[1],
	}, " "), nil
}

func coreDNSProduct(source string) (buildcache.Product, error) {
	version, err := buildcache.RequiredVersion(source, "github.com/coredns/coredns")
	if err != nil {
		return buildcache.Product{}, err
	}
	const ldflags = "-s -w"
	digest, err := buildcache.DigestOf(source, ldflags)
	if err != nil {
		return buildcache.Product{}, err
	}
	return buildcache.Product{
		Name:  "coredns-" + version + "-" + digest,
		Files: []string{"coredns"},
		Fill: func(ctx context.Context, dir string) error {
			return buildcache.GoBuild(ctx, source, filepath.Join(dir, "coredns"), ldflags, ".")
		},
	}, nil
}

// makeAssets makes the directory that envtest takes as KUBEBUILDER_ASSETS.
func makeAssets(c buildcache.Cache, p products) (string, error) {
	dir := c.Path(p.kubernetes) + "-assets"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	targets := map[string]string{
		"kube-apiserver": filepath.Join(c.Path(p.kubernetes), "kube-apiserver"),
		"kubectl":        filepath.Join(c.Path(p.kubernetes), "kubectl"),
		"etcd":           "/usr/bin/etcd",
	}
	return dir, linkAll(dir, targets)
}

// linkBinaries makes the running cluster's bin directory.
func linkBinaries(l layout, c buildcache.Cache, p products) error {
	targets := map[string]string{}
	for _, product := range p.all() {
		for _, file := range product.Files {
			targets[file] = filepath.Join(c.Path(product), file)
		}
	}
	if err := os.MkdirAll(l.path("bin"), 0o755); err != nil {
		return err
	}
	return linkAll(l.path("bin"), targets)
}

func linkAll(dir string, targets map[string]string) error {
	for name, target := range targets {
		link := filepath.Join(dir, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}
