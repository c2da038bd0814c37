// Package platform is all that stories, demo and benchmarks ask of a Kubernetes to run on: up, load, exec, down.
//
// There are two implementations of this contract. The throwaway cluster is a program of its own (hack/devcluster, a module of
// its own), of which nothing but the command line is known here. A context of the user's kubeconfig is the other.
package platform

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ContextVariable names the context of the user's kubeconfig that serves instead of the throwaway cluster.
const ContextVariable = "KUBE_CONTEXT"

// Kubernetes is a cluster, or one that can be made.
type Kubernetes interface {
	// Throwaway tells whether the cluster is made and ended by Up and Down, and takes images by Load. The images of one that is
	// not come from a registry.
	Throwaway() bool
	// Running tells whether the cluster is there already.
	Running(ctx context.Context) bool
	// Up makes the cluster run and keeps one that does. What it is doing goes to log.
	Up(ctx context.Context, log io.Writer) error
	// Load gives every node the images in these archives.
	Load(ctx context.Context, log io.Writer, archives ...string) error
	// Exec is the command line that runs argv where the addresses of pods and Services are reachable, with KUBECONFIG set.
	Exec(argv ...string) []string
	// Down ends the cluster and removes all that it left but caches.
	Down(ctx context.Context, log io.Writer) error
}

// New returns the Kubernetes that the environment names; root is the directory of the checkout.
func New(root string) Kubernetes {
	if os.Getenv(ContextVariable) != "" {
		return given{}
	}
	return throwaway{root: root}
}

// given is a cluster of the user's, which is neither made nor ended here.
type given struct{}

func (given) Throwaway() bool                       { return false }
func (given) Running(context.Context) bool          { return true }
func (given) Up(context.Context, io.Writer) error   { return nil }
func (given) Exec(argv ...string) []string          { return argv }
func (given) Down(context.Context, io.Writer) error { return nil }
func (given) Load(context.Context, io.Writer, ...string) error {
	return fmt.Errorf("the context %q takes images from a registry only", os.Getenv(ContextVariable))
}

// throwaway is the command line of hack/devcluster.
type throwaway struct{ root string }

func (t throwaway) program() string { return filepath.Join(t.root, "bin", "devcluster") }

func (throwaway) Throwaway() bool { return true }

func (t throwaway) Running(ctx context.Context) bool {
	return t.run(ctx, io.Discard, "status") == nil
}

func (t throwaway) Up(ctx context.Context, log io.Writer) error { return t.run(ctx, log, "up") }

func (t throwaway) Load(ctx context.Context, log io.Writer, archives ...string) error {
	return t.run(ctx, log, append([]string{"load"}, archives...)...)
}

func (t throwaway) Exec(argv ...string) []string {
	return append([]string{t.program(), "exec", "--"}, argv...)
}

func (t throwaway) Down(ctx context.Context, log io.Writer) error { return t.run(ctx, log, "down") }

// run builds the program, which Go's cache makes a matter of a second, and runs it in the checkout.
func (t throwaway) run(ctx context.Context, log io.Writer, arguments ...string) error {
	for _, argv := range [][]string{{"make", "bin/devcluster"}, append([]string{t.program()}, arguments...)} {
		command := Command(ctx, t.root, argv...)
		command.Stdout, command.Stderr = log, log
		if err := command.Run(); err != nil {
			return fmt.Errorf("running %s %s: %w", filepath.Base(argv[0]), argv[1], err)
		}
	}
	return nil
}

// Command runs in the directory. Interrupted, it may clean up after itself before it is killed.
func Command(ctx context.Context, directory string, argv ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Dir = directory
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = 30 * time.Second
	return command
}
