// Command images builds the container images of pgtls on a machine that has neither a container engine nor a registry.
//
//	go run ./hack/images build [--only NAME,...]   build what is missing, print progress on stderr
//	go run ./hack/images list                      JSON on stdout: name, reference, archive, built
//	go run ./hack/images push                      to the registry and prefix in IMAGE_REGISTRY
//
// Every image ends as a docker-archive under the user's cache directory (pgtls/images), which containerd takes with
// "ctr -n k8s.io images import ARCHIVE". Its tag is the hash of everything that goes into it, so an archive of
// that name is never built twice, and a Deployment rolls exactly when an image differs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var only []string
	root := &cobra.Command{
		Use:           "images",
		Short:         "Build, list and push the container images of pgtls",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringSliceVar(&only, "only", nil, "names of the images (default: all)")
	root.AddCommand(
		&cobra.Command{Use: "build", Short: "Build the images that are not cached", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return runBuild(cmd.Context(), only, cmd.ErrOrStderr()) }},
		&cobra.Command{Use: "list", Short: "Print name, reference and archive of each image as JSON", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return runList(only, cmd.OutOrStdout()) }},
		&cobra.Command{Use: "push", Short: "Push the built images to $IMAGE_REGISTRY", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return runPush(cmd.Context(), only, os.Getenv("IMAGE_REGISTRY"), cmd.ErrOrStderr())
			}},
	)
	return root
}
