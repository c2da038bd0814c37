package buildcache

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// buildFlags keep paths of this machine out of the binaries, and symbols that no debugger needs.
var buildFlags = []string{"-trimpath", "-buildvcs=false"}

// GoBuild builds static binaries in the module at source.
func GoBuild(ctx context.Context, source, output, ldflags string, packages ...string) error {
	args := slices.Concat([]string{"build"}, buildFlags, []string{"-ldflags", ldflags, "-o", output}, packages)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build in %s: %w: %s", source, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// RequiredVersion finds the version of a module that the go.mod at source requires directly.
func RequiredVersion(source, module string) (string, error) {
	goMod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	line := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(module) + `\s+(v\S+)`)
	match := line.FindSubmatch(goMod)
	if match == nil {
		return "", fmt.Errorf("%s/go.mod does not require %s", source, module)
	}
	return string(match[1]), nil
}

// DigestOf digests the files of a flat source directory together with the
// platform and the flags. A newer Go alone rebuilds nothing.
func DigestOf(source string, flags ...string) (string, error) {
	entries, err := os.ReadDir(source) // sorted by name
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s/%s %q %q\n", runtime.GOOS, runtime.GOARCH, buildFlags, flags)
	for _, entry := range entries {
		if entry.IsDir() || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(source, entry.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%q %d\n", entry.Name(), len(content))
		_, _ = sum.Write(content)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), nil
}

// Root finds the root of the pgtls checkout at or above the current directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return rootAbove(dir)
}

func rootAbove(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "hack", "buildcache")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside a pgtls checkout: run this from there", dir)
		}
	}
}
