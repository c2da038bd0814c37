// The agent is the sidecar beside PostgreSQL or PgBouncer, see package agent.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"pgtls.dev/pgtls/internal/agent"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

// What keeps the agent below 15 MB resident: it allocates little, and mostly while no client waits.
const (
	memoryLimit = 10 << 20
	gcPercent   = 30
)

func main() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(gcPercent)
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	config, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		log.Error("reading flags", "error", err)
		os.Exit(2)
	}
	config.Log, config.Now = log, time.Now
	if err := run(config); err != nil {
		log.Error("ending", "error", err)
		os.Exit(1)
	}
}

func run(config agent.Config) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	a, err := agent.New(config)
	if err != nil {
		return err
	}
	config.Log.Info("agent started", "pod", config.Pod, "kind", config.Kind)
	return a.Run(ctx)
}

// parse reads the flags. Those about paths and ports are for tests: in a pod the defaults hold.
func parse(args []string) (agent.Config, error) {
	var config agent.Config
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	kind := flags.String("kind", os.Getenv("AGENT_KIND"), "kind of pod: "+kindsWithProcess())
	minTLS := flags.String("min-tls", "1.3", "lowest TLS version to accept: 1.2 or 1.3")
	port := flags.Uint("process-port", agentapi.PostgresPort, "port of the process beside the agent")
	flags.StringVar(&config.Pod, "pod", os.Getenv("POD_NAME"), "name of the pod")
	flags.StringVar(&config.MaterialDir, "material-dir", agentapi.MaterialDir, "where the kubelet mounts the material")
	flags.StringVar(&config.ActivateFile, "activate-file", agentapi.ActivateFile, "file with the revision that is asked for")
	flags.StringVar(&config.ActiveDir, "active-dir", agentapi.ActiveDir, "where to install the material")
	flags.StringVar(&config.SocketDir, "socket-dir", agentapi.SocketDir, "where the process has its Unix socket")
	flags.StringVar(&config.LogFile, "log-file", "", "what the process logs to; by default that of the kind of pod")
	flags.StringVar(&config.Listen, "listen", fmt.Sprintf(":%d", agentapi.AgentPort), "address of the agent's own HTTPS")
	flags.StringVar(&config.PatroniListen, "patroni-listen", fmt.Sprintf(":%d", agentapi.PatroniPort), "address of the HTTPS in front of Patroni")
	flags.StringVar(&config.PatroniUpstream, "patroni-upstream", fmt.Sprintf("127.0.0.1:%d", agentapi.PatroniLoopbackPort), "address of Patroni")
	if err := flags.Parse(args); err != nil {
		return agent.Config{}, err
	}
	return complete(config, *kind, *minTLS, *port)
}

func complete(config agent.Config, kind, minTLS string, port uint) (agent.Config, error) {
	config.Kind = party.Named(kind)
	if config.Kind == nil || config.Kind.Process == nil {
		return agent.Config{}, fmt.Errorf("--kind %q: give %s", kind, kindsWithProcess())
	}
	process := config.Kind.Process
	if process.LogHere {
		config.LogCopy = os.Stdout // the agent's own log goes to stderr
	}
	if !process.Patroni {
		config.PatroniListen, config.PatroniUpstream = "", ""
	}
	versions := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	version, ok := versions[minTLS]
	if !ok {
		return agent.Config{}, fmt.Errorf("--min-tls %q: give 1.2 or 1.3", minTLS)
	}
	if config.Pod == "" {
		return agent.Config{}, errors.New("--pod is empty: give it or set POD_NAME")
	}
	if port == 0 || port > 65535 {
		return agent.Config{}, fmt.Errorf("--process-port %d: give a port between 1 and 65535", port)
	}
	config.MinTLS = version
	config.LogFile = cmp.Or(config.LogFile, process.Log)
	config.Process = agent.NewProcess(process.Program, config.SocketDir, uint16(port), version)
	return config, nil
}

// kindsWithProcess are the names of the kinds of party that an agent works for, as a person reads them.
func kindsWithProcess() string {
	var names []string
	for _, kind := range party.Kinds() {
		if kind.Process != nil {
			names = append(names, kind.Name)
		}
	}
	return strings.Join(names, " or ")
}
