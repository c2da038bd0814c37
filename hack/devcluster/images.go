package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"pgtls.dev/pgtls/hack/devcluster/process"
)

// load copies an image to every node, unless that very image is there. image
// is a name in buildah's store, or the path of a docker archive, whose own names it then gets.
func load(ctx context.Context, p *progress, l layout, nodes []node, image string) error {
	id, err := imageID(ctx, image)
	if err != nil {
		return err
	}
	var lacking []node
	for _, n := range nodes {
		if loadedID(l, n, image) != id {
			lacking = append(lacking, n)
		}
	}
	if len(lacking) == 0 {
		p.say("image %s: cached", image)
		return nil
	}
	return p.step("image "+image, func() error {
		if isArchive(image) {
			return importEverywhere(ctx, l, lacking, image, image, id)
		}
		return copyImage(ctx, l, lacking, image, id)
	})
}

func isArchive(image string) bool { return filepath.IsAbs(image) && strings.HasSuffix(image, ".tar") }

// contentNamed matches an archive whose name ends with the hash of what is in it, as hack/images names them.
var contentNamed = regexp.MustCompile(`-[0-9a-f]{16}\.tar$`)

// imageID tells one content of an image from another: an archive's by the hash in its name, or else by its size and time.
func imageID(ctx context.Context, image string) (string, error) {
	switch {
	case !isArchive(image):
		return buildahImageID(ctx, image)
	case contentNamed.MatchString(image):
		return filepath.Base(image), nil
	}
	info, err := os.Stat(image)
	if err != nil {
		return "", fmt.Errorf("loading an archive: %w", err)
	}
	return fmt.Sprintf("%d@%d", info.Size(), info.ModTime().UnixNano()), nil
}

func copyImage(ctx context.Context, l layout, nodes []node, image, id string) error {
	archive, err := os.CreateTemp(l.state, "image-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	// buildah refuses to write to an archive that exists, even an empty one.
	if err := os.Remove(archive.Name()); err != nil {
		return err
	}
	if _, err := process.Run(ctx, "buildah", "push", "--quiet", image, "docker-archive:"+archive.Name()+":"+image); err != nil {
		return err
	}
	return importEverywhere(ctx, l, nodes, archive.Name(), image, id)
}

func importEverywhere(ctx context.Context, l layout, nodes []node, archive, image, id string) error {
	for _, n := range nodes {
		if err := importArchive(ctx, l, n, archive); err != nil {
			return err
		}
		if err := writeFile(loadedFile(l, n, image), []byte(id), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func buildahImageID(ctx context.Context, image string) (string, error) {
	cmd := exec.CommandContext(ctx, "buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", image)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("buildah has no image %s: build it first (%w)", image, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// loadedFile remembers beside the node's containerd which image a name stands for.
func loadedFile(l layout, n node, image string) string {
	return l.node(n, "loaded-images", url.PathEscape(image))
}

func loadedID(l layout, n node, image string) string {
	content, err := os.ReadFile(loadedFile(l, n, image))
	if err != nil {
		return ""
	}
	return string(content)
}
