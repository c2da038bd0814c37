package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// requiredPackages maps each program that a build runs to the Debian package that brings it.
func requiredPackages() map[string]string {
	return map[string]string{
		"buildah":    "buildah",
		"mmdebstrap": "mmdebstrap",
		// buildah wants a runtime even though every RUN is isolated by chroot only.
		"runc": "runc",
	}
}

// missingPackages returns the packages whose program is not on PATH.
func missingPackages(required map[string]string, lookPath func(string) (string, error)) []string {
	var missing []string
	for program, name := range required {
		if _, err := lookPath(program); err != nil {
			missing = append(missing, name)
		}
	}
	return missing
}

// ensurePackages installs what is missing with apt-get; its output goes to log.
func ensurePackages(ctx context.Context, p *progress, log io.Writer) error {
	missing := missingPackages(requiredPackages(), exec.LookPath)
	if len(missing) == 0 {
		return nil
	}
	names := strings.Join(missing, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("packages are missing and only root may install them: apt-get install %s", names)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("packages are missing and this is not Debian: install " + names)
	}
	p.say("packages", "installing %s", names)
	install := append([]string{"install", "--yes", "--no-install-recommends"}, missing...)
	for _, args := range [][]string{{"update"}, install} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", args[0], err)
		}
	}
	return nil
}
