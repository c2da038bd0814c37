package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const maxNodes = 9

// upOptions are the flags of `up`.
type upOptions struct {
	noBuild bool
	nodes   int // at least so many
}

// up makes the wanted cluster run: it keeps what runs, starts again what ended,
// adds nodes, and builds anew only what cannot be kept.
func (c cluster) up(ctx context.Context, o upOptions) error {
	if o.nodes < 1 || o.nodes > maxNodes {
		return fmt.Errorf("--nodes %d: give a number from 1 to %d", o.nodes, maxNodes)
	}
	if err := needRoot(); err != nil {
		return err
	}
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	if c.complete() {
		err := c.keep(ctx, nodesUpTo(o.nodes))
		if err == nil || ctx.Err() != nil {
			return err
		}
		c.out.say("the running cluster cannot be kept: %v", err)
	}
	return c.anew(ctx, o)
}

func nodesUpTo(count int) []node {
	var nodes []node
	for i := 1; i <= count; i++ {
		nodes = append(nodes, node{index: i})
	}
	return nodes
}

// completeFile stands in the state directory once a cluster has come up, so that
// one whose `up` was interrupted is not taken for it.
const completeFile = "complete"

// complete says whether a cluster came up here since the machine was started.
func (c cluster) complete() bool {
	_, upErr := os.Stat(c.layout.path(completeFile))
	_, netErr := os.Stat(netnsPath(controlPlane.netns()))
	return upErr == nil && netErr == nil
}

// keep repairs the running cluster and gives it the nodes that it lacks.
func (c cluster) keep(ctx context.Context, wanted []node) error {
	nodes, err := c.runningNodes()
	if err != nil {
		return err
	}
	ended, err := dead(c.layout, nodes)
	if err != nil {
		return err
	}
	if !worthKeeping(ended) {
		return fmt.Errorf("%d of its processes have ended: %w", len(ended), errKilled)
	}
	for _, d := range ended {
		c.out.say("%s had ended: started again", d.name)
		if _, err := c.layout.start(d); err != nil {
			return err
		}
	}
	if err := c.answers(ctx, nodes); err != nil {
		return err
	}
	if len(wanted) <= len(nodes) {
		c.out.say("cluster of %d node(s) runs already: kept", len(nodes))
		return nil
	}
	return c.addNodes(ctx, wanted[len(nodes):])
}

var errKilled = errors.New("it was killed as a whole, and its pods with it")

// worthKeeping reports whether a cluster can be repaired. One process that ended is started again. Where several did, the
// whole cluster was killed, as with the session that it was started in: etcd still tells of pods that are gone, and nothing
// comes up for minutes.
func worthKeeping(ended []daemon) bool { return len(ended) <= 1 }

// anew builds what lacks, removes what is left of an earlier cluster, and starts one.
func (c cluster) anew(ctx context.Context, o upOptions) error {
	p, err := c.products()
	if err != nil {
		return err
	}
	if err := c.obtain(ctx, p, o.noBuild); err != nil {
		return err
	}
	if _, err := os.Stat(c.layout.state); err == nil {
		if err := c.out.step("left-overs of an earlier run removed", func() error { return destroy(ctx, c.layout) }); err != nil {
			return err
		}
	}
	return c.start(ctx, p, nodesUpTo(o.nodes))
}

func (c cluster) obtain(ctx context.Context, p products, noBuild bool) error {
	if !noBuild {
		return c.prepare(ctx, p)
	}
	for _, product := range p.all() {
		if !c.cache.Has(product) {
			return fmt.Errorf("%s is not in %s: leave out --no-build", product.Name, c.cache.Dir)
		}
	}
	return nil
}

// start brings up a cluster where there is nothing of one.
func (c cluster) start(ctx context.Context, p products, nodes []node) error {
	l := c.layout
	if err := os.MkdirAll(l.volumes(), 0o755); err != nil {
		return err
	}
	if err := errors.Join(linkBinaries(l, c.cache, p), rememberSysctls(l)); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"certificates", func() error { return writeCredentials(l, nodesUpTo(maxNodes), time.Now()) }},
		{"network", func() error { return setUpNetwork(ctx, controlPlane) }},
		{"etcd", func() error { return startEtcd(ctx, l) }},
		{"kube-apiserver and containerd", func() error { return startServerAndRuntime(ctx, l) }},
		{"controllers, storage, dns and first node ready", func() error { return startRest(ctx, l) }},
	} {
		if err := c.out.step(step.name, step.do); err != nil {
			return err
		}
	}
	if err := c.addNodes(ctx, nodes[1:]); err != nil {
		return err
	}
	if err := writeFile(l.path(completeFile), nil, 0o644); err != nil {
		return err
	}
	c.out.say("cluster runs; try: bin/devcluster exec -- kubectl get nodes")
	return nil
}

// startServerAndRuntime starts side by side what needs nothing of each other.
func startServerAndRuntime(ctx context.Context, l layout) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return startAPIServer(ctx, l) })
	group.Go(func() error { return startContainerd(ctx, l, controlPlane) })
	return group.Wait()
}

// startRest starts what needs only the API server and the runtime.
func startRest(ctx context.Context, l layout) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return startControllers(ctx, l) })
	group.Go(func() error { return startStorage(ctx, l) })
	group.Go(func() error { return startCoreDNS(ctx, l) })
	group.Go(func() error { return joinNode(ctx, l, controlPlane) })
	return group.Wait()
}

// joinNode makes a node with network and runtime a part of the cluster.
func joinNode(ctx context.Context, l layout, n node) error {
	if err := startKubelet(ctx, l, n); err != nil {
		return err
	}
	return startKubeProxy(ctx, l, n) // not healthy before its node is registered
}

// addNodes adds nodes to a running cluster.
func (c cluster) addNodes(ctx context.Context, nodes []node) error {
	for _, n := range nodes {
		err := c.out.step(n.name()+" ready", func() error {
			if err := setUpNetwork(ctx, n); err != nil {
				return err
			}
			if err := startContainerd(ctx, c.layout, n); err != nil {
				return err
			}
			return joinNode(ctx, c.layout, n)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func eachNode(nodes []node, do func(node) error) error {
	for _, n := range nodes {
		if err := do(n); err != nil {
			return err
		}
	}
	return nil
}
