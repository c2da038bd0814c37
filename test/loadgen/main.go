// Command loadgen runs in a client pod and is a demanding client: it keeps
// opening verify-full connections, keeps sessions open, and watches what is served.
//
// Each subcommand but request prints JSON lines (package record) and runs until its
// standard input ends, it gets SIGTERM, or --duration has passed. Then it
// finishes what it has begun and prints a last line with "final": true.
// Its exit status is 0 also when connections failed: the figures say so.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "loadgen",
		Short:         "A demanding client of a PostgresCluster",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(connectCommand(), sessionsCommand(), watchServedCommand(), requestCommand())
	return root
}

func connectCommand() *cobra.Command {
	var account account
	var options connectOptions
	var targets []string
	var duration time.Duration
	c := &cobra.Command{
		Use:   "connect",
		Short: "Keep opening new verify-full connections, each with one query",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := parseTargets(targets)
			if err != nil {
				return err
			}
			out := newPrinter(os.Stdout)
			return runConnect(untilStopped(cmd.Context(), duration), account, parsed, options, out)
		},
	}
	account.flags(c.Flags())
	targetFlags(c.Flags(), &targets)
	c.Flags().DurationVar(&duration, "duration", 0, "stop after this time (default: when standard input ends)")
	c.Flags().Float64Var(&options.rates.pgx, "pgx", 10, "connections per second and target by pgx")
	c.Flags().Float64Var(&options.rates.psql, "psql", 1, "connections per second and target by psql")
	c.Flags().Float64Var(&options.rates.pgbench, "pgbench", 2, "connections per second and target by pgbench -C")
	c.Flags().DurationVar(&options.timeout, "timeout", 30*time.Second, "after which an attempt has failed")
	return c
}

func sessionsCommand() *cobra.Command {
	var account account
	var targets []string
	var count int
	var duration time.Duration
	c := &cobra.Command{
		Use:   "sessions",
		Short: "Open sessions and see every second that each still has its backend",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := parseTargets(targets)
			if err != nil {
				return err
			}
			out := newPrinter(os.Stdout)
			return runSessions(untilStopped(cmd.Context(), duration), account, parsed, count, out)
		},
	}
	account.flags(c.Flags())
	targetFlags(c.Flags(), &targets)
	c.Flags().IntVar(&count, "count", 4, "sessions per target")
	c.Flags().DurationVar(&duration, "duration", 0, "stop after this time (default: when standard input ends)")
	return c
}

func watchServedCommand() *cobra.Command {
	var targets []string
	c := &cobra.Command{
		Use:   "watch-served",
		Short: "Print the serial that each target serves, whenever it changes",
		Long: "Print the serial that each target serves, whenever it changes.\n" +
			"A target's name on a line of standard input makes it look closely (every 20 ms instead of every second)\n" +
			"until that target's serial changes.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := parseTargets(targets)
			if err != nil {
				return err
			}
			return runWatchServed(cmd.Context(), parsed, os.Stdin, newPrinter(os.Stdout))
		},
	}
	targetFlags(c.Flags(), &targets)
	return c
}

func requestCommand() *cobra.Command {
	var options requestOptions
	c := &cobra.Command{
		Use:   "request URL",
		Short: "Make one HTTP request and print the status code",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRequest(cmd.Context(), args[0], options, os.Stdout)
		},
	}
	c.Flags().StringVar(&options.method, "method", "GET", "of the request")
	c.Flags().StringVar(&options.bundle, "ca", "/ca/ca.crt", "file with the trust bundle")
	c.Flags().StringVar(&options.cert, "cert", "", "file with a client certificate (default: none is presented)")
	c.Flags().StringVar(&options.key, "key", "", "file with the client certificate's key")
	return c
}
