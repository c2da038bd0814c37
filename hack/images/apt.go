package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// mirrors are the places that Debian packages come from, as URLs without a trailing slash.
type mirrors struct{ Main, Security string }

// noSources stands in the base image: a build that installs packages on top of it brings the sources of its machine.
const noSources = "# Mounted while an image is built.\n"

var errNoMirror = errors.New("apt on this machine names no Debian mirror: run this on Debian, or build images/ with Docker and BASE=debian:trixie")

// An aptHost is how this machine reaches its packages. It serves the build and never ends in an image.
type aptHost struct {
	Mirrors mirrors
	// Options go with each line of sources.list, such as check-date=no where a mirror serves a frozen snapshot.
	Options []string
	// Proxy is for http and empty for none.
	Proxy string
}

// readAptHost asks apt itself, so it does not matter in which files and format the sources stand.
func readAptHost(ctx context.Context) (aptHost, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return aptHost{}, fmt.Errorf("reading which Debian this is: %w", err)
	}
	targets, err := output(ctx, "apt-get", "indextargets",
		"--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Identifier: Packages")
	if err != nil {
		return aptHost{}, fmt.Errorf("asking apt for its sources: %w", err)
	}
	config, err := output(ctx, "apt-config", "dump", "Acquire")
	if err != nil {
		return aptHost{}, fmt.Errorf("asking apt for its configuration: %w", err)
	}
	options, proxy := parseAcquire(config)
	found := parseTargets(targets, codename(string(release)))
	if found.Main == "" {
		return aptHost{}, errNoMirror
	}
	return aptHost{Mirrors: found, Options: options, Proxy: proxy}, nil
}

// codename returns Debian's codename from the content of /etc/os-release, and nothing on another distribution:
// its mirrors do not carry Debian.
func codename(osRelease string) string {
	fields := map[string]string{}
	for line := range strings.Lines(osRelease) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[name] = strings.Trim(value, `"`)
		}
	}
	if fields["ID"] != "debian" {
		return ""
	}
	return fields["VERSION_CODENAME"]
}

// parseTargets picks the mirrors from lines of "URI SUITE COMPONENT"; "" where there is no such line.
func parseTargets(targets, codename string) mirrors {
	var found mirrors
	if codename == "" {
		return found
	}
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "main" {
			continue
		}
		switch f[1] {
		case codename:
			found.Main = strings.TrimSuffix(f[0], "/")
		case codename + "-security":
			found.Security = strings.TrimSuffix(f[0], "/")
		}
	}
	return found
}

// parseAcquire reads the output of "apt-config dump Acquire": which checks of dates are off, and the proxy.
func parseAcquire(dump string) (options []string, proxy string) {
	scanner := bufio.NewScanner(strings.NewReader(dump))
	for scanner.Scan() {
		name, value, ok := strings.Cut(strings.TrimSuffix(scanner.Text(), ";"), " ")
		if !ok {
			continue
		}
		off := isOff(strings.Trim(value, `"`))
		switch strings.ToLower(name) {
		case "acquire::check-valid-until":
			if off {
				options = append(options, "check-valid-until=no")
			}
		case "acquire::check-date":
			if off {
				options = append(options, "check-date=no")
			}
		case "acquire::http::proxy":
			proxy = strings.Trim(value, `"`)
		}
	}
	return options, proxy
}

// isOff tells how apt.conf spells no.
func isOff(value string) bool {
	switch strings.ToLower(value) {
	case "false", "no", "without", "off", "disable", "0":
		return true
	}
	return false
}

// sourceLines renders a sources.list of a release with its updates, and its security updates where there is a mirror of them.
func sourceLines(suite string, m mirrors, options []string) string {
	brackets := ""
	if len(options) > 0 {
		brackets = "[" + strings.Join(options, " ") + "] "
	}
	lines := fmt.Sprintf("deb %[1]s%[2]s %[3]s main\ndeb %[1]s%[2]s %[3]s-updates main\n", brackets, m.Main, suite)
	if m.Security != "" {
		lines += fmt.Sprintf("deb %s%s %s-security main\n", brackets, m.Security, suite)
	}
	return lines
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
