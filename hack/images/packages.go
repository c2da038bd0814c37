package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// requiredPackages maps each program or file (with a leading slash) that a build needs to the Debian package
// that brings it.
func requiredPackages() map[string]string {
	return map[string]string{
		"buildah":    "buildah",
		"mmdebstrap": "mmdebstrap",
		// buildah wants a runtime even though every RUN is isolated by chroot only.
		"runc": "runc",
		// The first Debian 12 images shipped a keyring without the next release's keys.
		archiveKeyring: "debian-archive-keyring",
		"/usr/share/keyrings/debian-archive-trixie-stable.gpg": "debian-archive-keyring",
	}
}

// present tells whether a program is on PATH, or a file exists.
func present(programOrFile string) bool {
	if filepath.IsAbs(programOrFile) {
		_, err := os.Stat(programOrFile)
		return err == nil
	}
	_, err := exec.LookPath(programOrFile)
	return err == nil
}

// missingPackages returns the packages that bring what is not present, each once.
func missingPackages(required map[string]string, present func(string) bool) []string {
	var missing []string
	for what, name := range required {
		if !present(what) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// ensurePackages installs what is missing with apt-get; its output goes to log.
func ensurePackages(ctx context.Context, p *progress, log io.Writer) error {
	missing := missingPackages(requiredPackages(), present)
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
