package custom

import (
	"maps"
	"slices"
)

// file is what a pod would see under one of the three names, with the Secret's key for messages.
type file struct {
	key     string
	text    []byte
	present bool
}

// project does what the kubelet does with a SecretProjection, for the three files that count.
func (r *report) project(in Input) map[string]file {
	files := map[string]file{CertificateFile: {key: CertificateFile}, KeyFile: {key: KeyFile}, AuthorityFile: {key: AuthorityFile}}
	if len(in.Items) == 0 {
		for path := range files {
			text, present := in.Data[path]
			files[path] = file{path, text, present}
		}
		return files
	}
	for _, item := range in.Items {
		r.projectItem(in, item, files)
	}
	return files
}

func (r *report) projectItem(in Input, item Item, files map[string]file) {
	const remedy = "map keys to the paths tls.crt, tls.key and, if there is one, ca.crt, each once"
	text, exists := in.Data[item.Key]
	known, isFile := files[item.Path]
	switch {
	case !isFile:
		r.refuse(ItemsMalformed, item.Key, remedy, "items give it the path %q, which is not read", item.Path)
	case known.present:
		r.refuse(ItemsMalformed, item.Key, remedy, "items give it the path %s, which key %s has already", item.Path, known.key)
	case !exists:
		r.refuse(ItemsMalformed, item.Key, remedy, "items name it for %s, and the Secret has only %s", item.Path, listed(slices.Sorted(maps.Keys(in.Data))))
	default:
		files[item.Path] = file{item.Key, text, true}
	}
}
