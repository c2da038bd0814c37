package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

var kubernetesBinaries = []string{
	"kube-apiserver",
	"kube-controller-manager",
	"kube-scheduler",
	"kubelet",
	"kube-proxy",
	"kubectl",
}

// buildFlags keep paths of this machine out of the binaries, and symbols that nobody debugs.
var buildFlags = []string{"-trimpath", "-buildvcs=false"}

// cache is the directory that outlives clusters. Everything in it is found by a
// name that holds a digest of all that it was made of, so nothing in it is ever stale.
type cache struct{ dir string }

func openCache() (cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return cache{}, fmt.Errorf("finding the user's cache directory: %w", err)
	}
	c := cache{dir: filepath.Join(dir, "pgtls", "devcluster")}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return cache{}, err
	}
	return c, nil
}

// product is one directory of the cache with the files that make it complete.
type product struct {
	name  string // of the directory: what, version, digest
	files []string
	make  func(ctx context.Context, dir string) error // fills dir
}

func (c cache) path(p product) string { return filepath.Join(c.dir, p.name) }

func (c cache) has(p product) bool {
	for _, file := range p.files {
		if _, err := os.Stat(filepath.Join(c.path(p), file)); err != nil {
			return false
		}
	}
	return true
}

// ensure makes the product unless the cache has it. It appears in one rename, so
// an interrupted build is never mistaken for a product.
func (c cache) ensure(ctx context.Context, out *progress, p product) error {
	if c.has(p) {
		out.say("%s: cached", p.name)
		return nil
	}
	return out.longStep("building "+p.name, func() error {
		partial := c.path(p) + ".partial"
		if err := errors.Join(os.RemoveAll(partial), os.RemoveAll(c.path(p))); err != nil {
			return err
		}
		if err := os.MkdirAll(partial, 0o755); err != nil {
			return err
		}
		if err := p.make(ctx, partial); err != nil {
			return err
		}
		return os.Rename(partial, c.path(p))
	})
}

// products are all that a cluster needs built.
type products struct {
	kubernetes, coreDNS, pause product
}

func (p products) all() []product { return []product{p.kubernetes, p.coreDNS, p.pause} }

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

func kubernetesProduct(source string) (product, error) {
	goMod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return product{}, err
	}
	version, err := requiredVersion(string(goMod), "k8s.io/kubernetes")
	if err != nil {
		return product{}, err
	}
	ldflags, err := kubernetesLDFlags(version)
	if err != nil {
		return product{}, err
	}
	digest, err := digestOf(source, ldflags)
	if err != nil {
		return product{}, err
	}
	var packages []string
	for _, name := range kubernetesBinaries {
		packages = append(packages, "k8s.io/kubernetes/cmd/"+name)
	}
	return product{
		name:  "kubernetes-" + version + "-" + digest,
		files: kubernetesBinaries,
		make: func(ctx context.Context, dir string) error {
			return goBuild(ctx, source, dir+"/", ldflags, packages...)
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

func coreDNSProduct(source string) (product, error) {
	goMod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return product{}, err
	}
	version, err := requiredVersion(string(goMod), "github.com/coredns/coredns")
	if err != nil {
		return product{}, err
	}
	const ldflags = "-s -w"
	digest, err := digestOf(source, ldflags)
	if err != nil {
		return product{}, err
	}
	return product{
		name:  "coredns-" + version + "-" + digest,
		files: []string{"coredns"},
		make: func(ctx context.Context, dir string) error {
			return goBuild(ctx, source, filepath.Join(dir, "coredns"), ldflags, ".")
		},
	}, nil
}

func goBuild(ctx context.Context, source, output, ldflags string, packages ...string) error {
	args := slices.Concat([]string{"build"}, buildFlags, []string{"-ldflags", ldflags, "-o", output}, packages)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build in %s: %w: %s", source, err, lastOf(string(out)))
	}
	return nil
}

// requiredVersion finds the version of a module that a go.mod requires directly.
func requiredVersion(goMod, module string) (string, error) {
	line := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(module) + `\s+(v\S+)`)
	match := line.FindStringSubmatch(goMod)
	if match == nil {
		return "", fmt.Errorf("go.mod does not require %s", module)
	}
	return match[1], nil
}

// digestOf digests the files of a flat source directory together with the
// platform and the flags. A newer Go alone rebuilds nothing.
func digestOf(source string, flags ...string) (string, error) {
	entries, err := os.ReadDir(source) // sorted by name
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s/%s %q %q\n", runtime.GOOS, runtime.GOARCH, buildFlags, flags)
	for _, entry := range entries {
		if entry.IsDir() || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(source, entry.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%q %d\n", entry.Name(), len(content))
		_, _ = sum.Write(content)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), nil
}

// findRoot finds the module's root at or above dir.
func findRoot(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "hack", "devcluster", "kubernetes", "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside a pgtls checkout: run this from there", dir)
		}
	}
}

// makeAssets makes the directory that envtest takes as KUBEBUILDER_ASSETS.
func (c cache) makeAssets(p products) (string, error) {
	dir := c.path(p.kubernetes) + "-assets"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	targets := map[string]string{
		"kube-apiserver": filepath.Join(c.path(p.kubernetes), "kube-apiserver"),
		"kubectl":        filepath.Join(c.path(p.kubernetes), "kubectl"),
		"etcd":           "/usr/bin/etcd",
	}
	return dir, linkAll(dir, targets)
}

// linkBinaries makes the running cluster's bin directory.
func linkBinaries(l layout, c cache, p products) error {
	targets := map[string]string{}
	for _, product := range p.all() {
		for _, file := range product.files {
			targets[file] = filepath.Join(c.path(product), file)
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
