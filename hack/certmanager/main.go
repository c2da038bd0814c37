// Command certmanager builds cert-manager's controller from its Go module, for
// tests that want the real one, on a machine without an image registry.
//
//	go run ./hack/certmanager build   prints the path of the controller; crds.yaml lies beside it
//	go run ./hack/certmanager crds    prints the definitions of its kinds
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pgtls.dev/pgtls/hack/buildcache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "certmanager",
		Short:         "cert-manager's controller as a program, for tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		command("build", "Print the path of the controller, built unless the cache has it", build),
		command("crds", "Print the definitions of cert-manager's kinds", printCRDs),
	)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "certmanager:", err)
		os.Exit(1)
	}
}

func command(use, short string, do func(ctx context.Context, source string, out io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := buildcache.Root()
			if err != nil {
				return err
			}
			return do(cmd.Context(), filepath.Join(root, "hack", "certmanager", "controller"), cmd.OutOrStdout())
		},
	}
}

func build(ctx context.Context, source string, out io.Writer) error {
	cache, err := buildcache.Open("certmanager")
	if err != nil {
		return err
	}
	release, err := cache.Lock(func() { fmt.Fprintln(os.Stderr, "waiting for another build of cert-manager to end") })
	if err != nil {
		return err
	}
	defer release()
	p, err := describe(source)
	if err != nil {
		return err
	}
	if err := ensure(ctx, cache, p); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, filepath.Join(cache.Path(p), program))
	return err
}

func ensure(ctx context.Context, cache buildcache.Cache, p buildcache.Product) error {
	if cache.Has(p) {
		return nil
	}
	fmt.Fprintf(os.Stderr, "building %s, once on this machine: some minutes ...\n", p.Name)
	begun := time.Now()
	if err := cache.Make(ctx, p); err != nil {
		return fmt.Errorf("building %s: %w", p.Name, err)
	}
	fmt.Fprintf(os.Stderr, "built %s (%.0f s)\n", p.Name, time.Since(begun).Seconds())
	return nil
}

func printCRDs(ctx context.Context, source string, out io.Writer) error {
	content, err := readCRDs(ctx, source)
	if err != nil {
		return err
	}
	_, err = out.Write(content)
	return err
}
