package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// cluster is what every command works on.
type cluster struct {
	layout layout
	cache  cache
	out    *progress
}

// lock keeps two commands from changing the cluster at once. The kernel lets go
// of it when the holder ends, however it ends.
func (c cluster) lock() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.cache.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		c.out.say("waiting for another devcluster command to end")
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
	}
	return func() { _ = f.Close() }, nil
}

// needRoot fails early, and not in the middle.
func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this makes network namespaces and mounts: run it as root")
	}
	return nil
}

// products reads the sources; the command must run inside the checkout.
func (c cluster) products() (products, error) {
	dir, err := os.Getwd()
	if err != nil {
		return products{}, err
	}
	root, err := findRoot(dir)
	if err != nil {
		return products{}, err
	}
	return describeProducts(root)
}

// build makes what the cache lacks.
func (c cluster) build(ctx context.Context, p products) error {
	for _, product := range p.all() {
		if err := c.cache.ensure(ctx, c.out, product); err != nil {
			return err
		}
	}
	return nil
}

// prepare installs and builds side by side.
func (c cluster) prepare(ctx context.Context, p products) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return installPackages(ctx, c.out) })
	group.Go(func() error { return c.build(ctx, p) })
	return group.Wait()
}

// upOptions are the flags of `up`.
type upOptions struct {
	noBuild bool
	nodes   int
}

// up makes the wanted cluster run, and keeps one that does.
func (c cluster) up(ctx context.Context, o upOptions) error {
	if o.nodes < 1 || o.nodes > 9 {
		return fmt.Errorf("--nodes %d: give a number from 1 to 9", o.nodes)
	}
	if err := needRoot(); err != nil {
		return err
	}
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	nodes := nodesUpTo(o.nodes)
	if err := c.healthy(ctx, nodes); err == nil {
		c.out.say("cluster runs already: kept")
		return nil
	}
	p, err := c.products()
	if err != nil {
		return err
	}
	if o.noBuild {
		for _, product := range p.all() {
			if !c.cache.has(product) {
				return fmt.Errorf("%s is not in %s: leave out --no-build", product.name, c.cache.dir)
			}
		}
	} else if err := c.prepare(ctx, p); err != nil {
		return err
	}
	if _, err := os.Stat(c.layout.state); err == nil {
		if err := c.out.step("left-overs of an earlier run removed", func() error { return destroy(ctx, c.layout) }); err != nil {
			return err
		}
	}
	return c.start(ctx, p, nodes)
}

func nodesUpTo(count int) []node {
	var nodes []node
	for i := 1; i <= count; i++ {
		nodes = append(nodes, node{index: i})
	}
	return nodes
}

func (c cluster) start(ctx context.Context, p products, nodes []node) error {
	l := c.layout
	if err := os.MkdirAll(l.volumes(), 0o755); err != nil {
		return err
	}
	if err := linkBinaries(l, c.cache, p); err != nil {
		return err
	}
	if err := c.out.step("certificates", func() error { return writeCredentials(l, nodes, time.Now()) }); err != nil {
		return err
	}
	if err := c.out.step("network", func() error { return eachNode(nodes, func(n node) error { return setUpNetwork(ctx, n) }) }); err != nil {
		return err
	}
	return c.startControlPlane(ctx, nodes)
}

func (c cluster) startControlPlane(ctx context.Context, nodes []node) error {
	l := c.layout
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"etcd", func() error { return startEtcd(ctx, l) }},
		{"kube-apiserver and containerd", func() error { return startServerAndRuntimes(ctx, l, nodes) }},
		{"controllers", func() error { return startControllers(ctx, l) }},
		{"storage", func() error { return startStorage(ctx, l) }},
		{"kubelet, node ready", func() error { return eachNode(nodes, func(n node) error { return startKubelet(ctx, l, n) }) }},
		{"kube-proxy", func() error { return eachNode(nodes, func(n node) error { return startKubeProxy(ctx, l, n) }) }},
		{"dns", func() error { return startCoreDNS(ctx, l) }},
	} {
		if err := c.out.step(step.name, step.do); err != nil {
			return err
		}
	}
	c.out.say("cluster runs; try: go run ./hack/devcluster exec -- kubectl get nodes")
	return nil
}

// startServerAndRuntimes starts side by side what needs nothing of each other.
func startServerAndRuntimes(ctx context.Context, l layout, nodes []node) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return startAPIServer(ctx, l) })
	group.Go(func() error {
		return eachNode(nodes, func(n node) error { return startContainerd(ctx, l, n) })
	})
	return group.Wait()
}

func eachNode(nodes []node, do func(node) error) error {
	for _, n := range nodes {
		if err := do(n); err != nil {
			return err
		}
	}
	return nil
}

// daemons are the names of all processes of a cluster with these nodes.
func daemons(nodes []node) []string {
	names := []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "provisioner", "coredns"}
	for _, n := range nodes {
		names = append(names, n.daemon("containerd"), n.daemon("kubelet"), n.daemon("kube-proxy"))
	}
	return names
}

// healthy gives the first thing that is wrong with the running cluster. A busy
// machine may make the API server slow, so that it is given time: nobody wants
// to lose a cluster to a slow answer.
func (c cluster) healthy(ctx context.Context, nodes []node) error {
	processes, err := c.layout.processes()
	if err != nil {
		return err
	}
	if len(processes) == 0 {
		return errNotRunning
	}
	for _, name := range daemons(nodes) {
		id, known := processes[name]
		if !known || !id.alive() {
			return fmt.Errorf("%s does not run: see %s", name, c.layout.log(name))
		}
	}
	api, err := newClient(c.layout)
	if err != nil {
		return err
	}
	return poll(ctx, 30*time.Second, func(ctx context.Context) error {
		if err := api.ready(ctx); err != nil {
			return fmt.Errorf("asking the API server: %w", err)
		}
		return eachNode(nodes, func(n node) error { return api.nodeReady(ctx, n) })
	})
}

// runningNodes are the nodes that `up` made.
func (c cluster) runningNodes() ([]node, error) {
	entries, err := os.ReadDir(c.layout.path("nodes"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNotRunning
	}
	if err != nil {
		return nil, err
	}
	return nodesUpTo(len(entries)), nil
}

func (c cluster) down(ctx context.Context) error {
	if err := needRoot(); err != nil {
		return err
	}
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	return c.out.step("cluster removed", func() error { return destroy(ctx, c.layout) })
}

// status prints every process and then what is wrong, if anything is.
func (c cluster) status(ctx context.Context) error {
	nodes, err := c.runningNodes()
	if err != nil {
		return err
	}
	processes, err := c.layout.processes()
	if err != nil {
		return err
	}
	for _, name := range daemons(nodes) {
		state := "down"
		if id, known := processes[name]; known && id.alive() {
			state = fmt.Sprintf("up, pid %d", id.pid)
		}
		fmt.Printf("%-26s %-16s %s\n", name, state, c.layout.log(name))
	}
	fmt.Printf("%-26s %s\n%-26s %s\n", "kubeconfig", c.layout.kubeconfig("admin"), "audit log", c.layout.auditLog())
	if err := c.healthy(ctx, nodes); err != nil {
		return err
	}
	fmt.Println("healthy")
	return nil
}

// load copies images to every node.
func (c cluster) load(ctx context.Context, images []string) error {
	nodes, err := c.runningNodes()
	if err != nil {
		return err
	}
	for _, image := range images {
		if err := load(ctx, c.out, c.layout, nodes, image); err != nil {
			return err
		}
	}
	return nil
}

// exec becomes a command inside the first node's network namespace, so that
// its input, output, signals and exit code are the caller's.
func (c cluster) exec(argv []string) error {
	if _, err := os.Stat(c.layout.kubeconfig("admin")); err != nil {
		return errNotRunning
	}
	path := c.layout.path("bin") + ":" + os.Getenv("PATH")
	env := []string{"KUBECONFIG=" + c.layout.kubeconfig("admin"), "PATH=" + path}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "KUBECONFIG=") && !strings.HasPrefix(pair, "PATH=") {
			env = append(env, pair)
		}
	}
	return execve(inNetns(controlPlane.netns(), argv...), env)
}

// assets gives the directory that envtest takes as KUBEBUILDER_ASSETS.
func (c cluster) assets(ctx context.Context) (string, error) {
	p, err := c.products()
	if err != nil {
		return "", err
	}
	if err := installPackages(ctx, c.out); err != nil {
		return "", err
	}
	if err := c.cache.ensure(ctx, c.out, p.kubernetes); err != nil {
		return "", err
	}
	return c.cache.makeAssets(p)
}

func (c cluster) cleanCache() error {
	if _, err := os.Stat(c.layout.state); err == nil {
		return errors.New("a cluster uses the cache: run `down` first")
	}
	return os.RemoveAll(c.cache.dir)
}
