package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"pgtls.dev/pgtls/hack/buildcache"
)

const (
	pauseImage   = "localhost/pgtls-devcluster-pause:1"
	pauseArchive = "pause.tar"
)

func pauseProduct(source string) (buildcache.Product, error) {
	const ldflags = "-s -w"
	digest, err := buildcache.DigestOf(source, ldflags, pauseImage)
	if err != nil {
		return buildcache.Product{}, err
	}
	return buildcache.Product{
		Name:  "pause-" + digest,
		Files: []string{pauseArchive},
		Fill: func(ctx context.Context, dir string) error {
			binary := filepath.Join(dir, "pause")
			if err := buildcache.GoBuild(ctx, source, binary, ldflags, "."); err != nil {
				return err
			}
			content, err := os.ReadFile(binary)
			if err != nil {
				return err
			}
			archive, err := imageArchive(pauseImage, "pause", content)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, pauseArchive), archive, 0o644)
		},
	}, nil
}

// imageArchive gives an image of one layer that holds one program, in the format
// of `docker save` (https://github.com/moby/docker-image-spec, version 1.2).
func imageArchive(name, program string, content []byte) ([]byte, error) {
	layer, err := tarOf([]file{{program, content}}, 0o755)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/" + program}, "User": "65535:65535"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding image config: %w", err)
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding image manifest: %w", err)
	}
	return tarOf([]file{{"layer.tar", layer}, {"config.json", config}, {"manifest.json", manifest}}, 0o644)
}

type file struct {
	name    string
	content []byte
}

func tarOf(files []file, mode int64) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: mode, Size: int64(len(f.content))}); err != nil {
			return nil, fmt.Errorf("archiving %s: %w", f.name, err)
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, fmt.Errorf("archiving %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("ending archive: %w", err)
	}
	return out.Bytes(), nil
}
