package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// associative names the lists that server-side apply merges by key and to which others may add elements. Every other
// list is compared as a whole.
var associative = map[string]bool{
	"ownerReferences": true, "finalizers": true, "conditions": true,
	"containers": true, "initContainers": true, "volumes": true, "env": true,
	"ports": true, "volumeMounts": true, "imagePullSecrets": true,
}

// quantities names the maps and members whose strings are quantities: 1000m is 1.
var quantities = map[string]bool{
	"requests": true, "limits": true, "capacity": true, "sizeLimit": true,
}

// hashOf is the first 64 bits of the SHA-256 over the object's JSON, in hex.
func hashOf(u *unstructured.Unstructured) (string, error) {
	// encoding/json sorts the keys of maps.
	encoded, err := json.Marshal(u.Object)
	if err != nil {
		return "", fmt.Errorf("hashing %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:8]), nil
}

// covers tells whether live has everything that desired has. What live has beyond are defaults of the server
// and fields of others.
func covers(live, desired map[string]any) bool { return coversMap(live, desired, "") }

func coversMap(live, desired map[string]any, name string) bool {
	for key, want := range desired {
		member := key
		if quantities[name] {
			member = name
		}
		have, ok := live[key]
		if !ok || !coversValue(have, want, member) {
			return false
		}
	}
	return true
}

func coversValue(live, desired any, name string) bool {
	switch want := desired.(type) {
	case map[string]any:
		have, ok := live.(map[string]any)
		return ok && coversMap(have, want, name)
	case []any:
		have, ok := live.([]any)
		return ok && coversList(have, want, name)
	case string:
		have, ok := live.(string)
		return ok && (have == want || quantities[name] && equalQuantity(have, want))
	default:
		return reflect.DeepEqual(live, desired)
	}
}

func coversList(live, desired []any, name string) bool {
	if !associative[name] {
		if len(live) != len(desired) {
			return false
		}
		for i := range desired {
			if !coversValue(live[i], desired[i], "") {
				return false
			}
		}
		return true
	}
	for _, want := range desired {
		if !anyCovers(live, want) {
			return false
		}
	}
	return true
}

func anyCovers(live []any, want any) bool {
	for _, have := range live {
		if coversValue(have, want, "") {
			return true
		}
	}
	return false
}

func equalQuantity(a, b string) bool {
	x, err := resource.ParseQuantity(a)
	if err != nil {
		return false
	}
	y, err := resource.ParseQuantity(b)
	return err == nil && x.Cmp(y) == 0
}
