// Command devcluster runs a throwaway real Kubernetes on a bare Debian machine.
// README.md beside it says how.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"pgtls.dev/pgtls/hack/buildcache"
	"pgtls.dev/pgtls/hack/devcluster/provisioner"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "devcluster",
		Short:         "A throwaway Kubernetes on this machine, in a network namespace of its own",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		upCommand(),
		simple("down", "End the cluster and remove all that it left, but not the cache", func(ctx context.Context, c cluster) error { return c.down(ctx) }),
		simple("status", "Print every process and whether the cluster is healthy", func(ctx context.Context, c cluster) error { return c.status(ctx) }),
		simple("build", "Build the binaries into the cache", buildOnly),
		simple("assets", "Print a directory that serves as KUBEBUILDER_ASSETS", printAssets),
		simple("kubeconfig", "Print the path of the administrator's kubeconfig", printKubeconfig),
		simple("clean-cache", "Drop all built binaries", func(_ context.Context, c cluster) error { return c.cleanCache() }),
		stopCommand(), startCommand(), loadCommand(), execCommand(), becomeDaemonCommand(), provisionCommand(),
	)
	return root
}

func openCluster() (cluster, error) {
	cache, err := buildcache.Open("devcluster")
	if err != nil {
		return cluster{}, err
	}
	// Progress goes to stderr: stdout is for what a script reads.
	return cluster{layout: layout{state: defaultState}, cache: cache, out: newProgress(os.Stderr)}, nil
}

func simple(use, short string, do func(context.Context, cluster) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCluster()
			if err != nil {
				return err
			}
			return do(cmd.Context(), c)
		},
	}
}

func upCommand() *cobra.Command {
	var options upOptions
	cmd := simple("up", "Make the cluster run; keep one that does", func(ctx context.Context, c cluster) error { return c.up(ctx, options) })
	cmd.Flags().BoolVar(&options.noBuild, "no-build", false, "install and build nothing; fail when the cache lacks something")
	cmd.Flags().IntVar(&options.nodes, "nodes", 1, "run at least so many nodes; further ones have no control plane")
	return cmd
}

func stopCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stop PROCESS...", Short: "Kill processes by the names that status prints, like kubelet-node-2", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := openCluster()
			if err != nil {
				return err
			}
			return c.stop(cmd.Context(), names)
		},
	}
}

func startCommand() *cobra.Command {
	return &cobra.Command{
		Use: "start PROCESS...", Short: "Start stopped processes again", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, names []string) error {
			c, err := openCluster()
			if err != nil {
				return err
			}
			return c.startAgain(names)
		},
	}
}

func loadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "load IMAGE...", Short: "Copy images from buildah's store to every node", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, images []string) error {
			c, err := openCluster()
			if err != nil {
				return err
			}
			return c.load(cmd.Context(), images)
		},
	}
}

func execCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exec -- CMD...", Short: "Run a command where the cluster's addresses are reachable, with KUBECONFIG set", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, argv []string) error {
			c, err := openCluster()
			if err != nil {
				return err
			}
			return c.exec(argv)
		},
	}
}

// becomeDaemonCommand is how `up` starts each process: see layout.start.
func becomeDaemonCommand() *cobra.Command {
	return &cobra.Command{
		Use: "become-daemon PIDFILE -- CMD...", Hidden: true, Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return becomeDaemon(args[0], args[1:]) },
	}
}

func provisionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "provision KUBECONFIG DIRECTORY", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return provisioner.Run(cmd.Context(), args[0], args[1]) },
	}
}

func buildOnly(ctx context.Context, c cluster) error {
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	p, err := c.products()
	if err != nil {
		return err
	}
	return c.build(ctx, p)
}

func printAssets(ctx context.Context, c cluster) error {
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	dir, err := c.assets(ctx)
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}

func printKubeconfig(_ context.Context, c cluster) error {
	path := c.layout.kubeconfig("admin")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return errNotRunning
	}
	fmt.Println(path)
	return nil
}
