package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// atOnce is how many images are built side by side: they wait for the mirror and the disk in turn.
const atOnce = 2

// A builder holds what all builds of one run share.
type builder struct {
	root     string // of the repository
	store    store
	host     aptHost
	buildah  buildah
	progress *progress
	bases    *bases
	now      func() time.Time
	lock     *os.File
}

// runBuild builds the named images that are not cached.
func runBuild(ctx context.Context, only []string, out io.Writer) error {
	p := newProgress(out, time.Now)
	images, err := resolve(only)
	if err != nil {
		return err
	}
	if allBuilt(images) {
		_, err := missingImages(images, p)
		return err
	}
	b, err := newBuilder(ctx, images[0].store, p)
	if err != nil {
		return err
	}
	defer b.close()
	images, err = resolve(only) // again: another build may have held the lock until now
	if err != nil {
		return err
	}
	missing, err := missingImages(images, p)
	if err != nil {
		return err
	}
	return b.buildAll(ctx, missing)
}

func allBuilt(images []image) bool {
	return !slices.ContainsFunc(images, func(i image) bool { return !i.Built })
}

// missingImages says which images are cached, keeps them from being pruned, and returns the others.
func missingImages(images []image, p *progress) ([]image, error) {
	var missing []image
	for _, i := range images {
		if !i.Built {
			missing = append(missing, i)
			continue
		}
		if err := touch(i.Archive, p.now()); err != nil {
			return nil, fmt.Errorf("marking an archive as used: %w", err)
		}
		p.say(i.Name, "cached")
	}
	return missing, nil
}

// newBuilder prepares the machine: cache, lock, packages, and how it reaches its mirror.
func newBuilder(ctx context.Context, s store, p *progress) (*builder, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		return nil, err
	}
	lock, err := s.lock(func() { p.say("images", "waiting for another build to end") })
	if err != nil {
		return nil, err
	}
	b := &builder{root: root, store: s, progress: p, now: time.Now, lock: lock}
	b.bases = newBases(b)
	if err := b.prepare(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *builder) prepare(ctx context.Context) error {
	log, err := os.Create(b.store.log("packages"))
	if err != nil {
		return fmt.Errorf("creating the log of the packages: %w", err)
	}
	defer log.Close()
	if err := ensurePackages(ctx, b.progress, log); err != nil {
		return err
	}
	if b.host, err = readAptHost(ctx); err != nil {
		return err
	}
	b.buildah = newBuildah(b.store, b.host)
	return b.buildah.removeLeftOvers(ctx, log)
}

func (b *builder) close() { b.lock.Close() }

func (b *builder) buildAll(ctx context.Context, images []image) error {
	for _, i := range images {
		if i.recipe.Suite == "" {
			continue
		}
		if err := b.writeSources(i.recipe.Suite); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, i := range images {
		group.Go(func() error {
			if err := b.build(ctx, i); err != nil {
				return fmt.Errorf("building image %s: %w", i.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// build makes one image and its archive.
func (b *builder) build(ctx context.Context, i image) error {
	plan := b.plan(i)
	if i.recipe.Suite != "" {
		base, err := b.bases.reference(ctx, i.recipe.Suite)
		if err != nil {
			return err
		}
		plan.Args["BASE"] = base
	}
	err := b.logged(i.Name, "building", func(log io.Writer) error {
		if err := b.buildah.run(ctx, log, plan.arguments()...); err != nil {
			return err
		}
		return b.buildah.save(ctx, log, i.Reference, i.Archive)
	})
	if err != nil {
		return err
	}
	return b.prune(ctx, i)
}

// prune drops the oldest archives of an image, and its layers with them.
func (b *builder) prune(ctx context.Context, i image) error {
	removed, err := b.store.prune(i.Name)
	if err != nil {
		return err
	}
	for _, k := range removed {
		// An archive may outlive its layers, so a failure means nothing.
		_ = b.buildah.run(ctx, io.Discard, "rmi", i.recipe.reference(k))
	}
	return nil
}

// plan renders the recipe, without its base.
func (b *builder) plan(i image) bud {
	plan := bud{
		Tag:        i.Reference,
		Dockerfile: filepath.Join(b.root, i.recipe.Folder, "Dockerfile"),
		Context:    filepath.Join(b.root, i.recipe.context()),
		Args:       map[string]string{},
		Mounts:     map[string]string{},
	}
	for name, value := range i.recipe.Args {
		plan.Args[name] = value
	}
	if i.recipe.Suite != "" {
		plan.Mounts["/etc/apt/sources.list"] = b.sourcesFile(i.recipe.Suite)
	}
	return plan
}

// logged runs act with a log file of its own and says when it began and how long it took.
func (b *builder) logged(subject, doing string, act func(log io.Writer) error) error {
	log, err := os.Create(b.store.log(subject))
	if err != nil {
		return fmt.Errorf("creating the log: %w", err)
	}
	defer log.Close()
	began := b.now()
	if err := b.progress.during(subject, doing, func() error { return act(log) }); err != nil {
		return fmt.Errorf("%w (log: %s)", err, log.Name())
	}
	b.progress.say(subject, "done in %.1f s", b.now().Sub(began).Seconds())
	return nil
}

// repository returns the root of the checkout, found by its go.mod above the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		found, err := exists(filepath.Join(dir, baseFolder, "Dockerfile"))
		if err != nil {
			return "", err
		}
		if found {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("finding the repository: no %s above the working directory", baseFolder)
		}
		dir = parent
	}
}
