package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// byPgx connects with pgx.
func byPgx(a account, timeout time.Duration) attempt {
	return func(ctx context.Context, t target) error {
		conn, err := dialPgx(ctx, a, t, timeout)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		var one int
		if err := conn.QueryRow(ctx, "select 1").Scan(&one); err != nil {
			return fmt.Errorf("querying: %w", err)
		}
		return nil
	}
}

// dialPgx parses its configuration anew each time, and so reads the trust bundle anew.
func dialPgx(ctx context.Context, a account, t target, timeout time.Duration) (*pgx.Conn, error) {
	env, err := a.environment(timeout)
	if err != nil {
		return nil, err
	}
	query := url.Values{
		"sslmode":          {env["PGSSLMODE"]},
		"sslrootcert":      {env["PGSSLROOTCERT"]},
		"connect_timeout":  {env["PGCONNECT_TIMEOUT"]},
		"application_name": {env["PGAPPNAME"]},
	}
	if env["PGSSLCERT"] != "" {
		query.Set("sslcert", env["PGSSLCERT"])
		query.Set("sslkey", env["PGSSLKEY"])
	}
	uri := url.URL{
		Scheme: "postgres", User: url.UserPassword(env["PGUSER"], env["PGPASSWORD"]),
		Host: t.address(), Path: "/" + env["PGDATABASE"], RawQuery: query.Encode(),
	}
	config, err := pgx.ParseConfig(uri.String())
	if err != nil {
		return nil, fmt.Errorf("configuring pgx: %w", err)
	}
	// One round trip and no prepared statement, so that it works the same in every pool mode.
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return pgx.ConnectConfig(ctx, config)
}

// byPsql connects with libpq.
func byPsql(a account, timeout time.Duration) attempt {
	return func(ctx context.Context, t target) error {
		command, err := libpq(ctx, a, t, timeout, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--command", "select 1")
		if err != nil {
			return err
		}
		output, err := command.CombinedOutput()
		return withOutput(err, output)
	}
}

// libpq prepares a program that finds out from the environment where to connect.
func libpq(ctx context.Context, a account, t target, timeout time.Duration, program string, arguments ...string) (*exec.Cmd, error) {
	env, err := a.environment(timeout)
	if err != nil {
		return nil, err
	}
	env["PGHOST"], env["PGPORT"] = t.host, t.port
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = os.Environ()
	for name, value := range env {
		command.Env = append(command.Env, name+"="+value)
	}
	return command, nil
}

// keepBenching runs pgbench -C in short runs until ctx ends.
func keepBenching(ctx context.Context, t target, o connectOptions, a account, counted *tally) {
	if o.rates.pgbench <= 0 {
		return
	}
	for ctx.Err() == nil {
		tried, failures := bench(context.WithoutCancel(ctx), t, o, a)
		counted.add(t.name, "pgbench", tried, failures...)
		if len(failures) > 0 {
			// A run that fails ends at once: without this a target that is down would get many a second.
			sleep(ctx, time.Duration(float64(time.Second)/o.rates.pgbench))
		}
	}
}

// benchRun is short, because a run is finished also when loadgen is told to stop.
const benchRun = 5 * time.Second

// bench makes one run of pgbench that connects anew for every transaction.
func bench(ctx context.Context, t target, o connectOptions, a account) (tried int, failures []error) {
	ctx, cancel := context.WithTimeout(ctx, benchRun+o.timeout)
	defer cancel()
	command, err := libpq(ctx, a, t, o.timeout, "pgbench", "--no-vacuum", "--connect", "--client=1",
		fmt.Sprintf("--rate=%g", o.rates.pgbench), fmt.Sprintf("--time=%.0f", benchRun.Seconds()), "--file=/dev/stdin")
	if err != nil {
		return 1, []error{err}
	}
	command.Stdin = strings.NewReader("select 1;\n")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	result, parseErr := parseBench(stdout.String(), stderr.String())
	if parseErr != nil {
		return 1, []error{withOutput(errors.Join(err, parseErr), stderr.Bytes())}
	}
	if err != nil && len(result.errors) == 0 {
		result.errors = []string{withOutput(err, stderr.Bytes()).Error()}
	}
	for _, message := range result.errors {
		failures = append(failures, errors.New(message))
	}
	return result.processed + len(failures), failures
}

// withOutput adds to err what the program said, in one line.
func withOutput(err error, output []byte) error {
	if err == nil {
		return nil
	}
	said := strings.Join(strings.Fields(string(output)), " ")
	return fmt.Errorf("%w: %s", err, said)
}
