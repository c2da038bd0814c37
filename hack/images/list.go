package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// An image is a recipe with what its content makes of it. Its JSON is what other programs read.
type image struct {
	Name string `json:"name"`
	// Reference is what a pod's image field says: localhost/pgtls/NAME:KEY.
	Reference string `json:"reference"`
	// Archive is the absolute path of the docker-archive.
	Archive string `json:"archive"`
	// Built tells whether Archive exists.
	Built bool `json:"built"`

	recipe recipe
	store  store
}

// resolve computes the keys of the named images and looks which of them are built.
// It fails for an image whose binary does not exist.
func resolve(only []string) ([]image, error) {
	recipes, err := selected(catalog(), only)
	if err != nil {
		return nil, err
	}
	root, err := repository()
	if err != nil {
		return nil, err
	}
	s, err := openStore()
	if err != nil {
		return nil, err
	}
	images := make([]image, 0, len(recipes))
	for _, r := range recipes {
		i, err := resolveOne(root, s, r)
		if err != nil {
			return nil, err
		}
		images = append(images, i)
	}
	return images, nil
}

func resolveOne(root string, s store, r recipe) (image, error) {
	k, err := keyOf(root, r)
	if err != nil {
		return image{}, err
	}
	i := image{Name: r.Name, Reference: r.reference(k), Archive: s.archive(r.Name, k), recipe: r, store: s}
	i.Built, err = exists(i.Archive)
	if err != nil {
		return image{}, fmt.Errorf("looking for the archive of image %s: %w", r.Name, err)
	}
	return i, nil
}

func runList(only []string, out io.Writer) error {
	images, err := resolve(only)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(images)
}
