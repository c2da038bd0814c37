package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
)

const baseFolder = "images/debian"

// bootstrapOptions are the options of mmdebstrap for a release. Its dpkg options stay in the base, so that no package
// that is installed later brings documentation or translations either.
func bootstrapOptions(suite string) []string {
	options := []string{
		"--variant=minbase",
		"--dpkgopt=force-unsafe-io", // a build that is cut short is done again
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
	}
	if suite == "bookworm" {
		// Bookworm merges /usr with a program in perl, 46 MB of it, unless it finds it merged already.
		options = append(options, "--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
	}
	return options
}

const archiveKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// keyringOptions say whom mmdebstrap trusts: Debian, and whom the host's own mirror needs. It would find that out by
// itself, but only with gpg installed.
func keyringOptions() []string {
	return []string{"--keyring=" + archiveKeyring, "--keyring=/etc/apt/trusted.gpg.d"}
}

// bases makes the base image of each Debian release at most once, when the first image wants it.
type bases struct {
	builder *builder
	mu      sync.Mutex
	made    map[string]func() (string, error)
}

func newBases(b *builder) *bases {
	return &bases{builder: b, made: map[string]func() (string, error){}}
}

// reference returns the name of the base image of a release in buildah's storage, making it if it is missing.
func (b *bases) reference(ctx context.Context, suite string) (string, error) {
	b.mu.Lock()
	once, ok := b.made[suite]
	if !ok {
		once = sync.OnceValues(func() (string, error) { return b.builder.makeBase(ctx, suite) })
		b.made[suite] = once
	}
	b.mu.Unlock()
	return once()
}

func (b *builder) makeBase(ctx context.Context, suite string) (string, error) {
	k, err := baseKeyOf(b.root, suite)
	if err != nil {
		return "", err
	}
	reference := fmt.Sprintf("localhost/debian:%s-%s", suite, k)
	subject := "debian-" + suite
	if b.buildah.has(ctx, reference) {
		b.progress.say(subject, "cached")
		return reference, nil
	}
	err = b.logged(subject, "making the base with mmdebstrap", func(log io.Writer) error {
		return b.bootstrap(ctx, log, suite, reference)
	})
	if err != nil {
		return "", fmt.Errorf("making base %s: %w", suite, err)
	}
	return reference, nil
}

// bootstrap makes the root file system from the host's mirror and turns it into an image that names none.
func (b *builder) bootstrap(ctx context.Context, log io.Writer, suite, reference string) error {
	folder := b.store.work("debian-" + suite)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := os.WriteFile(filepath.Join(folder, "sources.list"), []byte(noSources), 0o644); err != nil {
		return err
	}
	args := slices.Concat(bootstrapOptions(suite), keyringOptions())
	args = append(args, suite, filepath.Join(folder, "root.tar"), b.sourcesFile(suite))
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.Env = b.buildah.env
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mmdebstrap: %w", err)
	}
	return b.buildah.run(ctx, log, bud{
		Tag:        reference,
		Dockerfile: filepath.Join(b.root, baseFolder, "Dockerfile"),
		Context:    folder,
	}.arguments()...)
}

func (b *builder) sourcesFile(suite string) string { return b.store.work("sources-" + suite + ".list") }

// writeSources writes how this machine reaches the packages of a release, for builds to mount.
func (b *builder) writeSources(suite string) error {
	text := sourceLines(suite, b.host.Mirrors, b.host.Options)
	if err := os.WriteFile(b.sourcesFile(suite), []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the package sources of %s: %w", suite, err)
	}
	return nil
}
