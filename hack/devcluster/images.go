package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// load copies an image from buildah's store to every node, unless that very image is there.
func load(ctx context.Context, p *progress, l layout, nodes []node, image string) error {
	id, err := buildahImageID(ctx, image)
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
	return p.step("image "+image, func() error { return copyImage(ctx, l, lacking, image, id) })
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
	if _, err := run(ctx, "buildah", "push", "--quiet", image, "docker-archive:"+archive.Name()+":"+image); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := importArchive(ctx, l, n, archive.Name()); err != nil {
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
