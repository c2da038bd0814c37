package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A recipe says how one image is made. Paths are relative to the root of the repository.
type recipe struct {
	Name   string
	Folder string // holds the Dockerfile
	// Suite is the Debian release that the image is based on; empty for an image made from scratch.
	Suite string
	Args  map[string]string // build arguments besides BASE
	// Binary is the prebuilt static program that the image carries, in binaryFolder; empty for none.
	// The build context is then binaryFolder, otherwise Folder.
	Binary string
}

const binaryFolder = "bin"

// catalog lists the images, slowest first so that they are built side by side with the others.
func catalog() []recipe {
	return []recipe{
		{Name: "postgres-17", Folder: "images/postgres", Suite: "trixie", Args: map[string]string{"PG_MAJOR": "17"}},
		{Name: "postgres-15", Folder: "images/postgres", Suite: "bookworm", Args: map[string]string{"PG_MAJOR": "15"}},
		{Name: "pgbouncer", Folder: "images/pgbouncer", Suite: "trixie"},
		{Name: "client", Folder: "images/client", Suite: "trixie", Args: map[string]string{"PG_MAJOR": "17"}, Binary: "loadgen"},
		{Name: "operator", Folder: "images/operator", Binary: "operator"},
		{Name: "agent", Folder: "images/agent", Binary: "agent"},
	}
}

// selected returns the recipes with the given names, in the catalog's order; all of them for no name.
func selected(all []recipe, names []string) ([]recipe, error) {
	if len(names) == 0 {
		return all, nil
	}
	byName := make(map[string]recipe, len(all))
	for _, r := range all {
		byName[r.Name] = r
	}
	for _, name := range names {
		if _, ok := byName[name]; !ok {
			known := slices.Sorted(maps.Keys(byName))
			return nil, fmt.Errorf("no image is named %q: choose from %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(r recipe) bool { return !slices.Contains(names, r.Name) }), nil
}

func (r recipe) context() string {
	if r.Binary != "" {
		return binaryFolder
	}
	return r.Folder
}

// reference is the name under which containerd knows the image.
func (r recipe) reference(k key) string {
	return fmt.Sprintf("localhost/pgtls/%s:%s", r.Name, k)
}
