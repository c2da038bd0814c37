package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"pgtls.dev/pgtls/hack/buildcache"
	"pgtls.dev/pgtls/hack/devcluster/process"
)

// cluster is what every command works on.
type cluster struct {
	layout layout
	cache  buildcache.Cache
	out    *progress
}

// lock keeps two commands from changing the cluster at once.
func (c cluster) lock() (release func(), err error) {
	return c.cache.Lock(func() { c.out.say("waiting for another devcluster command to end") })
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
	root, err := buildcache.Root()
	if err != nil {
		return products{}, err
	}
	return describeProducts(root)
}

// build makes what the cache lacks.
func (c cluster) build(ctx context.Context, p products) error {
	for _, product := range p.all() {
		if err := c.ensure(ctx, product); err != nil {
			return err
		}
	}
	return nil
}

// ensure makes the product unless the cache has it.
func (c cluster) ensure(ctx context.Context, p buildcache.Product) error {
	if c.cache.Has(p) {
		c.out.say("%s: cached", p.Name)
		return nil
	}
	return c.out.longStep("building "+p.Name, func() error { return c.cache.Make(ctx, p) })
}

// prepare installs and builds side by side.
func (c cluster) prepare(ctx context.Context, p products) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return installPackages(ctx, c.out) })
	group.Go(func() error { return c.build(ctx, p) })
	return group.Wait()
}

// daemons are all processes of a cluster with these nodes.
func daemons(l layout, nodes []node) []daemon {
	all := []daemon{
		etcdDaemon(l), apiserverDaemon(l), controllerManagerDaemon(l), schedulerDaemon(l), provisionerDaemon(l), coreDNSDaemon(l),
	}
	for _, n := range nodes {
		all = append(all, containerdDaemon(l, n), kubeletDaemon(l, n), kubeProxyDaemon(l, n))
	}
	return all
}

// dead are the daemons that do not run.
func dead(l layout, nodes []node) ([]daemon, error) {
	processes, err := l.processes()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(daemons(l, nodes), func(d daemon) bool {
		id, known := processes[d.name]
		return known && id.Alive()
	}), nil
}

// answers waits until API server and nodes say that they are well. A busy
// machine may make them slow: a slow answer must not cost a cluster.
func (c cluster) answers(ctx context.Context, nodes []node) error {
	api, err := newClient(c.layout)
	if err != nil {
		return err
	}
	return process.Poll(ctx, time.Minute, func(ctx context.Context) error {
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
	stopped := 0
	for _, d := range daemons(c.layout, nodes) {
		state := "down"
		if id, known := processes[d.name]; known && id.Alive() {
			state = fmt.Sprintf("up, pid %d", id.PID)
		} else {
			stopped++
		}
		fmt.Printf("%-26s %-16s %s\n", d.name, state, c.layout.log(d.name))
	}
	fmt.Printf("%-26s %s\n%-26s %s\n", "kubeconfig", c.layout.kubeconfig("admin"), "audit log", c.layout.auditLog())
	if stopped > 0 {
		return fmt.Errorf("%d processes do not run: see their logs; `up` starts them again", stopped)
	}
	if err := c.answers(ctx, nodes); err != nil {
		return err
	}
	fmt.Println("healthy")
	return nil
}

// stop ends daemons by the names that status prints, until `start` or `up`.
func (c cluster) stop(ctx context.Context, names []string) error {
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	processes, err := c.layout.processes()
	if err != nil {
		return err
	}
	var ended []process.ID
	for _, name := range names {
		id, known := processes[name]
		if !known {
			return fmt.Errorf("no process is called %q: see `status`", name)
		}
		if err := id.Kill(); err != nil {
			return err
		}
		ended = append(ended, id)
	}
	return process.WaitGone(ctx, ended)
}

// startAgain starts daemons that were stopped, by the names that status prints.
func (c cluster) startAgain(names []string) error {
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	nodes, err := c.runningNodes()
	if err != nil {
		return err
	}
	stopped, err := dead(c.layout, nodes)
	if err != nil {
		return err
	}
	for _, name := range names {
		at := slices.IndexFunc(stopped, func(d daemon) bool { return d.name == name })
		if at < 0 {
			return fmt.Errorf("no stopped process is called %q: see `status`", name)
		}
		if _, err := c.layout.start(stopped[at]); err != nil {
			return err
		}
	}
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
	return process.Exec(inNetns(controlPlane.netns(), argv...), env)
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
	if err := c.ensure(ctx, p.kubernetes); err != nil {
		return "", err
	}
	return makeAssets(c.cache, p)
}

func (c cluster) cleanCache() error {
	if _, err := os.Stat(c.layout.state); err == nil {
		return errors.New("a cluster uses the cache: run `down` first")
	}
	return os.RemoveAll(c.cache.Dir)
}
