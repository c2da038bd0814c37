package custom

import (
	"maps"
	"slices"
)

// file is what a pod would see under one of the three names. Its place is the Secret's key that it comes from.
type file struct {
	place
	text    []byte
	present bool
}

// project does what the kubelet does with a SecretProjection, for the three files that count.
func project(in Input, r *report) projection {
	files := projection{}
	for _, path := range []string{CertificateFile, KeyFile, AuthorityFile} {
		files[path] = file{place: r.at(path)}
		if text, present := in.Data[path]; len(in.Items) == 0 {
			files[path] = file{r.at(path), text, present}
		}
	}
	for _, item := range in.Items {
		files.put(item, in.Data, r.at(item.Key))
	}
	return files
}

// projection has the three files by their paths.
type projection map[string]file

// put makes the file of one item.
func (files projection) put(item Item, data map[string][]byte, at place) {
	const remedy = "map keys to the paths tls.crt, tls.key and, if there is one, ca.crt, each once"
	text, exists := data[item.Key]
	known, isFile := files[item.Path]
	switch {
	case !isFile:
		at.refuse(ItemsMalformed, remedy, "items give it the path %q, which is not read", item.Path)
	case known.present:
		at.refuse(ItemsMalformed, remedy, "items give it the path %s, which key %s has already", item.Path, known.key)
	case !exists:
		at.refuse(ItemsMalformed, remedy, "items name it for %s, and the Secret has only %s", item.Path, listed(slices.Sorted(maps.Keys(data))))
	default:
		files[item.Path] = file{at, text, true}
	}
}
