// Package apt installs what a machine lacks: the one package installer of the tools in hack/.
//
// A need is a program or a file with the Debian package that brings it, so that a machine which has the program from elsewhere
// needs no package, and one that is no Debian is told which programs to install.
package apt

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

// Need is a program, or a file by its absolute path (a pattern of filepath.Glob), and the Debian package that brings it.
type Need struct{ File, Package string }

// administration is where Debian puts programs that only root's PATH finds.
var administration = []string{"/usr/sbin", "/sbin"}

// Find returns the path of the program or file; of several that a pattern matches, the last by name.
func (n Need) Find() (path string, found bool) {
	if filepath.IsAbs(n.File) {
		matches, err := filepath.Glob(n.File)
		if err != nil || len(matches) == 0 {
			return "", false
		}
		return slices.Max(matches), true
	}
	for _, candidate := range append([]string{n.File}, administered(n.File)...) {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, true
		}
	}
	return "", false
}

func administered(program string) []string {
	var paths []string
	for _, directory := range administration {
		paths = append(paths, filepath.Join(directory, program))
	}
	return paths
}

// Missing returns the packages that bring what is not present, each once, sorted.
func Missing(needs []Need) []string {
	var missing []string
	for _, n := range needs {
		if _, found := n.Find(); !found {
			missing = append(missing, n.Package)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Install installs packages with apt-get, whose output goes to log. It starts none of their services, and does nothing without
// packages: see Missing.
//
// Errors: packages are missing and the user is not root, or the machine has no apt-get; apt-get fails.
func Install(ctx context.Context, log io.Writer, packages []string) (err error) {
	if len(packages) == 0 {
		return nil
	}
	names := strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("programs are missing and this machine has no apt-get: install what Debian calls " + names)
	}
	if os.Geteuid() != 0 {
		return errors.New("packages are missing and only root may install them: apt-get install " + names)
	}
	release, err := withoutServices(policyFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := aptGet(ctx, log, "update"); err != nil {
		return err
	}
	return aptGet(ctx, log, append([]string{"install", "--yes", "--no-install-recommends"}, packages...)...)
}

// policyFile is what Debian's maintainer scripts ask before they start a service.
const policyFile = "/usr/sbin/policy-rc.d"

// withoutServices denies the start of services until release is called: a test starts its own PostgreSQL, and a machine should
// not keep another one from it. A policy that is there already stays as it is.
func withoutServices(policy string) (release func() error, err error) {
	file, err := os.OpenFile(policy, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keeping services from starting: %w", err)
	}
	_, err = file.WriteString("#!/bin/sh\nexit 101\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping services from starting: %w", err), os.Remove(policy))
	}
	return func() error { return os.Remove(policy) }, nil
}

func aptGet(ctx context.Context, log io.Writer, arguments ...string) error {
	command := exec.CommandContext(ctx, "apt-get", append([]string{"--quiet", "--option", "DPkg::Lock::Timeout=300"}, arguments...)...)
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	said := &lastLine{}
	command.Stdout, command.Stderr = io.MultiWriter(log, said), io.MultiWriter(log, said)
	if err := command.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", arguments[0], err, said)
	}
	return nil
}

// lastLine keeps the last line that is not empty.
type lastLine struct{ line, rest string }

func (l *lastLine) Write(text []byte) (int, error) {
	lines := strings.Split(l.rest+string(text), "\n")
	l.rest = lines[len(lines)-1]
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			l.line = line
		}
	}
	return len(text), nil
}

func (l *lastLine) String() string { return l.line }
