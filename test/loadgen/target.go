package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// A target is something to connect to.
type target struct {
	name string
	host string // as the certificate must name it
	port string
}

func (t target) address() string { return net.JoinHostPort(t.host, t.port) }

func targetFlags(flags *pflag.FlagSet, targets *[]string) {
	flags.StringArrayVar(targets, "target", nil, "NAME=HOST:PORT, may be repeated")
}

func parseTargets(specs []string) ([]target, error) {
	if len(specs) == 0 {
		return nil, fmt.Errorf("no target: give --target NAME=HOST:PORT")
	}
	targets := make([]target, 0, len(specs))
	for _, spec := range specs {
		name, address, ok := strings.Cut(spec, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("target %q has no name: write NAME=HOST:PORT", spec)
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w: write NAME=HOST:PORT", spec, err)
		}
		targets = append(targets, target{name: name, host: host, port: port})
	}
	return targets, nil
}

// An account is the user that connects. Its files are read anew for every connection, as a client should
// that follows the cluster's bundle.
type account struct {
	secretDir string // the mounted Secret <cluster>-pguser-<user>
	bundle    string // the file with the trust bundle
}

func (a *account) flags(flags *pflag.FlagSet) {
	flags.StringVar(&a.secretDir, "user", "/user", "directory with the keys of the Secret <cluster>-pguser-<user>")
	flags.StringVar(&a.bundle, "ca", "/ca/ca.crt", "file with the trust bundle")
}

func (a account) key(name string) (string, error) {
	value, err := os.ReadFile(filepath.Join(a.secretDir, name))
	if err != nil {
		return "", fmt.Errorf("reading the user's Secret: %w", err)
	}
	return string(value), nil
}

// environment is what libpq and pgx need to know besides the target, as libpq's variables.
func (a account) environment(timeout time.Duration) (map[string]string, error) {
	env := map[string]string{
		"PGSSLMODE":         "verify-full",
		"PGSSLROOTCERT":     a.bundle,
		"PGCONNECT_TIMEOUT": fmt.Sprintf("%.0f", timeout.Seconds()),
		"PGAPPNAME":         "loadgen",
	}
	for variable, key := range map[string]string{"PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"} {
		value, err := a.key(key)
		if err != nil {
			return nil, err
		}
		env[variable] = value
	}
	for variable, key := range map[string]string{"PGSSLCERT": "tls.crt", "PGSSLKEY": "tls.key"} {
		if file := filepath.Join(a.secretDir, key); exists(file) {
			env[variable] = file // the Secret <cluster>-pguser-<user>-cert is mounted there too
		}
	}
	return env, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// untilStopped ends when standard input ends, parent ends or duration has passed (0: never).
func untilStopped(parent context.Context, duration time.Duration) context.Context {
	if duration > 0 {
		// A run with a duration need not hold standard input open.
		ctx, cancel := context.WithTimeout(parent, duration)
		context.AfterFunc(ctx, cancel)
		return ctx
	}
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}
