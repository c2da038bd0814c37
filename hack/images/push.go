package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// runPush pushes the named images to registry, which is a host with an optional path prefix.
func runPush(ctx context.Context, only []string, registry string, out io.Writer) error {
	if registry == "" {
		return errors.New("pushing images: IMAGE_REGISTRY is empty: set it to HOST/PREFIX")
	}
	images, err := resolve(only)
	if err != nil {
		return err
	}
	p := newProgress(out, time.Now)
	b, err := newBuilder(ctx, images[0].store, p)
	if err != nil {
		return err
	}
	defer b.close()
	for _, i := range images {
		if !i.Built {
			return fmt.Errorf("pushing image %s: it is not built: run build first", i.Name)
		}
		target := pushTarget(registry, i)
		err := b.logged(i.Name, "pushing to "+target, func(log io.Writer) error {
			return b.buildah.publish(ctx, log, i.Archive, i.Reference, target)
		})
		if err != nil {
			return fmt.Errorf("pushing image %s: %w", i.Name, err)
		}
	}
	return nil
}

// pushTarget is where an image goes: localhost/pgtls/NAME:KEY becomes REGISTRY/NAME:KEY.
func pushTarget(registry string, i image) string {
	return strings.TrimSuffix(registry, "/") + "/" + strings.TrimPrefix(i.Reference, "localhost/pgtls/")
}
