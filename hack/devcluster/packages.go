package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// debianPackages are what the cluster runs on, what images are built with, and what the pages for users are tested with (openssl).
var debianPackages = []string{
	"buildah",
	"conntrack",
	"containerd",
	"containernetworking-plugins",
	"etcd-server",
	"iproute2",
	"iptables",
	"mmdebstrap",
	"openssl",
	"runc",
}

// installPackages installs what is missing, and touches nothing when nothing is.
func installPackages(ctx context.Context, p *progress) error {
	missing, err := missingPackages(ctx)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		p.say("debian packages: cached")
		return nil
	}
	return p.longStep("debian packages "+strings.Join(missing, " "), func() error {
		if err := aptGet(ctx, "update"); err != nil {
			return err
		}
		return aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, missing...)...)
	})
}

func missingPackages(ctx context.Context) ([]string, error) {
	query, err := exec.LookPath("dpkg-query")
	if err != nil {
		return nil, fmt.Errorf("this is no Debian machine (no dpkg-query): install %s yourself, run `build`, then `up --no-build`", strings.Join(debianPackages, " "))
	}
	args := append([]string{"--show", "--showformat=${Package} ${db:Status-Status}\n"}, debianPackages...)
	out, err := exec.CommandContext(ctx, query, args...).Output()
	if unknown := new(exec.ExitError); err != nil && !errors.As(err, &unknown) {
		return nil, fmt.Errorf("asking for installed packages: %w", err)
	}
	return notInstalled(debianPackages, string(out)), nil
}

// notInstalled gives the wanted packages that dpkg-query's output does not call installed.
func notInstalled(wanted []string, queried string) []string {
	installed := map[string]bool{}
	for line := range strings.Lines(queried) {
		if name, status, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			installed[name] = status == "installed"
		}
	}
	var missing []string
	for _, name := range wanted {
		if !installed[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastOf(string(out)))
	}
	return nil
}

func lastOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
