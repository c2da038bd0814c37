// Package bringup makes what the stories and the demo run on: a Kubernetes
// with the images of this work tree. It runs on the machine itself; what it
// starts at the end runs in the cluster's network.
package bringup

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"pgtls.dev/pgtls/test/harness"
	"pgtls.dev/pgtls/test/platform"
)

// Machine is what a run works with.
type Machine struct {
	root       string // of the work tree
	progress   *Progress
	started    bool // the cluster was not running before
	kubernetes platform.Kubernetes
	only       []string // names of the images that are wanted; none: all
}

// New finds the work tree. Progress is what a person reads.
func New(ctx context.Context, progress *Progress) (*Machine, error) {
	output, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the work tree: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(output)))
	return &Machine{root: root, progress: progress, kubernetes: platform.New(root)}, nil
}

// Up makes the cluster run and gives it the images of these names (none: all), as far as the caches do not hold them.
func (m *Machine) Up(ctx context.Context, only ...string) (harness.Images, error) {
	m.only = only
	if !m.kubernetes.Throwaway() {
		m.progress.Say("using the context %q of your kubeconfig: nothing is brought up", os.Getenv(platform.ContextVariable))
		return m.imagesOfRegistry(ctx)
	}
	m.started = !m.kubernetes.Running(ctx)
	if !m.started {
		m.progress.Say("the throwaway Kubernetes is running already: it is used, and left running")
	}
	// Building Kubernetes wants the processors, building images waits for the network: they go well together.
	group, sideCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return m.progress.Step("throwaway Kubernetes", func() error { return m.kubernetes.Up(sideCtx, m.progress.out) })
	})
	group.Go(func() error {
		if err := m.buildBinaries(sideCtx); err != nil {
			return err
		}
		return m.progress.Step("container images", func() error { return m.goRun(sideCtx, m.progress.out, "./hack/images", m.selected("build")...) })
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return m.load(ctx)
}

func (m *Machine) buildBinaries(ctx context.Context) error {
	return m.progress.Step("operator, agent and loadgen", func() error {
		build := m.command(ctx, "make", "build")
		build.Stdout, build.Stderr = m.progress.out, m.progress.out
		return build.Run()
	})
}

func (m *Machine) load(ctx context.Context) (harness.Images, error) {
	list, err := m.listImages(ctx)
	if err != nil {
		return nil, err
	}
	images := harness.Images{}
	var archives []string
	for _, image := range list {
		images[image.Name] = image.Reference
		archives = append(archives, image.Archive)
	}
	return images, m.progress.Step("images onto the node", func() error {
		return m.kubernetes.Load(ctx, m.progress.out, archives...)
	})
}

// selected are the arguments that do something with the wanted images.
func (m *Machine) selected(verb string) []string {
	if len(m.only) == 0 {
		return []string{verb}
	}
	return []string{verb, "--only", strings.Join(m.only, ",")}
}

func (m *Machine) listImages(ctx context.Context) ([]harness.BuiltImage, error) {
	output, err := m.command(ctx, append([]string{"go", "run", "./hack/images"}, m.selected("list")...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the images: %w", err)
	}
	return harness.ParseBuiltImages(output)
}

// imagesOfRegistry are those that "go run ./hack/images push" has put there.
func (m *Machine) imagesOfRegistry(ctx context.Context) (harness.Images, error) {
	registry := os.Getenv("IMAGE_REGISTRY")
	if registry == "" {
		return nil, fmt.Errorf("IMAGE_REGISTRY is not set: with %s it says where the images are; push them with go run ./hack/images push", platform.ContextVariable)
	}
	if err := m.buildBinaries(ctx); err != nil {
		return nil, err
	}
	list, err := m.listImages(ctx)
	if err != nil {
		return nil, err
	}
	images := harness.Images{}
	for _, image := range list {
		images[image.Name] = strings.TrimSuffix(registry, "/") + "/" + strings.TrimPrefix(image.Reference, "localhost/pgtls/")
	}
	return images, nil
}

// Inside runs a program where the cluster's addresses are reachable.
func (m *Machine) Inside(ctx context.Context, images harness.Images, out io.Writer, argv ...string) error {
	argv = m.kubernetes.Exec(argv...)
	command := m.command(ctx, argv...)
	command.Env = append(os.Environ(), harness.ImagesVariable+"="+images.String(), harness.RootVariable+"="+m.root,
		startedVariable+"="+m.progress.start.Format(time.RFC3339Nano))
	command.Stdout, command.Stderr = out, os.Stderr
	return command.Run()
}

// Down ends the throwaway cluster if Up started it, unless the user wants to keep it. It says what it does.
func (m *Machine) Down() error {
	switch {
	case !m.kubernetes.Throwaway(), !m.started:
		return nil
	case os.Getenv("KEEP") != "":
		m.progress.Say("KEEP is set: the throwaway Kubernetes runs on; end it with make down")
		return nil
	}
	// Also when the run was interrupted: its context is over, and the cluster must end all the same.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return m.progress.Step("throwaway Kubernetes down (KEEP=1 keeps it)", func() error { return m.kubernetes.Down(ctx, m.progress.out) })
}

// Kubernetes is what the run works on.
func (m *Machine) Kubernetes() platform.Kubernetes { return m.kubernetes }

func (m *Machine) goRun(ctx context.Context, out io.Writer, folder string, arguments ...string) error {
	command := m.command(ctx, append([]string{"go", "run", folder}, arguments...)...)
	command.Stdout, command.Stderr = out, out
	if err := command.Run(); err != nil {
		return fmt.Errorf("running %s %s: %w", folder, arguments[0], err)
	}
	return nil
}

// command runs in the work tree.
func (m *Machine) command(ctx context.Context, argv ...string) *exec.Cmd {
	return platform.Command(ctx, m.root, argv...)
}
