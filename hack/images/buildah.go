package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A buildah runs the program of that name with its storage inside the cache.
type buildah struct {
	root, runRoot string
	env           []string
}

func newBuildah(s store, host aptHost) buildah {
	b := buildah{
		root:    filepath.Join(s.dir, "buildah", "root"),
		runRoot: filepath.Join(s.dir, "buildah", "run"),
		env:     os.Environ(),
	}
	if host.Proxy != "" && os.Getenv("http_proxy") == "" {
		// buildah hands the variable to every RUN and keeps it out of the image.
		b.env = append(b.env, "http_proxy="+host.Proxy)
	}
	return b
}

// A bud is one build from a Dockerfile.
type bud struct {
	Tag        string
	Dockerfile string
	Context    string
	Args       map[string]string
	// Mounts are host paths by their path in the build, read-only; they leave no trace in the image.
	Mounts map[string]string
}

func (b bud) arguments() []string {
	args := []string{"bud", "--isolation", "chroot", "--layers", "--format", "docker", "--pull-never",
		"--tag", b.Tag, "--file", b.Dockerfile}
	for _, name := range slices.Sorted(maps.Keys(b.Args)) {
		args = append(args, "--build-arg", name+"="+b.Args[name])
	}
	for _, target := range slices.Sorted(maps.Keys(b.Mounts)) {
		args = append(args, "--volume", b.Mounts[target]+":"+target+":ro")
	}
	return append(args, b.Context)
}

// run runs buildah; what it prints goes to log, and its last lines into the error.
func (b buildah) run(ctx context.Context, log io.Writer, args ...string) error {
	var tail bytes.Buffer
	cmd := exec.CommandContext(ctx, "buildah", append([]string{"--root", b.root, "--runroot", b.runRoot}, args...)...)
	cmd.Env = b.env
	// Interrupted, it unmounts and ends what it started; killed, it would not.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	both := io.MultiWriter(log, &tail)
	cmd.Stdout, cmd.Stderr = both, both
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("buildah %s: %w\n%s", args[0], err, lastLines(tail.String(), 15))
	}
	return nil
}

// removeLeftOvers ends the working containers of builds that were killed.
func (b buildah) removeLeftOvers(ctx context.Context, log io.Writer) error {
	return b.run(ctx, log, "rm", "--all")
}

// has tells whether the storage holds an image.
func (b buildah) has(ctx context.Context, reference string) bool {
	return b.run(ctx, io.Discard, "inspect", "--type", "image", reference) == nil
}

// save writes an image as a docker-archive. The name appears only when the file is complete.
func (b buildah) save(ctx context.Context, log io.Writer, reference, archive string) error {
	unfinished := archive + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil { // docker-archive never overwrites
		return fmt.Errorf("removing what an interrupted build left: %w", err)
	}
	if err := b.run(ctx, log, "push", "--quiet", reference, "docker-archive:"+unfinished+":"+reference); err != nil {
		return err
	}
	return os.Rename(unfinished, archive)
}

// publish pushes the image of an archive to a registry.
func (b buildah) publish(ctx context.Context, log io.Writer, archive, reference, target string) error {
	if err := b.run(ctx, log, "pull", "--quiet", "docker-archive:"+archive); err != nil {
		return err
	}
	return b.run(ctx, log, "push", "--quiet", reference, "docker://"+target)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
