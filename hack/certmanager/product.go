package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"pgtls.dev/pgtls/hack/buildcache"
)

const (
	certManager = "github.com/cert-manager/cert-manager"
	ldflags     = "-s -w"

	program  = "controller"
	crdsFile = "crds.yaml"
)

// describe reads the module at source, which names the version.
func describe(source string) (buildcache.Product, error) {
	version, err := buildcache.RequiredVersion(source, certManager)
	if err != nil {
		return buildcache.Product{}, err
	}
	digest, err := buildcache.DigestOf(source, ldflags)
	if err != nil {
		return buildcache.Product{}, err
	}
	return buildcache.Product{
		Name:  "cert-manager-" + version + "-" + digest,
		Files: []string{program, crdsFile},
		Fill: func(ctx context.Context, dir string) error {
			crds, err := readCRDs(ctx, source)
			if err != nil {
				return err
			}
			return errors.Join(
				os.WriteFile(filepath.Join(dir, crdsFile), crds, 0o644),
				buildcache.GoBuild(ctx, source, filepath.Join(dir, program), ldflags, "."),
			)
		},
	}, nil
}

// readCRDs returns the definitions that the module carries, one YAML document each. Those of ACME are not among them: the
// controller has no part for it.
func readCRDs(ctx context.Context, source string) ([]byte, error) {
	dir, err := moduleDir(ctx, source)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "deploy", "crds", "cert-manager.io_*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no definitions in %s any more", certManager, filepath.Join("deploy", "crds"))
	}
	var documents [][]byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		documents = append(documents, bytes.TrimPrefix(content, []byte("---\n")))
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

// moduleDir finds cert-manager's module in Go's own cache, where it is put unless it is there.
func moduleDir(ctx context.Context, source string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", certManager)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || module.Dir == "" {
		return "", fmt.Errorf("downloading %s: %w: %s", certManager, errors.Join(err, jsonErr), module.Error)
	}
	return module.Dir, nil
}
