package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
)

// ImagesVariable names the environment variable that hands Images to the
// process in the cluster's network, as name=reference pairs with commas between.
const ImagesVariable = "PGTLS_IMAGES"

// Images are references by the names of hack/images: operator, agent, client, postgres-17, ...
type Images map[string]string

// ParseImages reads what String wrote.
func ParseImages(s string) (Images, error) {
	images := Images{}
	for pair := range strings.SplitSeq(s, ",") {
		name, reference, ok := strings.Cut(pair, "=")
		if !ok || name == "" || reference == "" {
			return nil, fmt.Errorf("%s: %q is not name=reference", ImagesVariable, pair)
		}
		images[name] = reference
	}
	return images, nil
}

// ImagesFromEnvironment reads ImagesVariable.
func ImagesFromEnvironment() (Images, error) {
	value, ok := os.LookupEnv(ImagesVariable)
	if !ok {
		return nil, fmt.Errorf("%s is not set: start this with make demo or make e2e", ImagesVariable)
	}
	return ParseImages(value)
}

func (i Images) String() string {
	pairs := make([]string, 0, len(i))
	for name, reference := range i {
		pairs = append(pairs, name+"="+reference)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}

// BuiltImage is one entry of what "go run ./hack/images list" prints.
type BuiltImage struct {
	Name      string `json:"name"`
	Reference string `json:"reference"`
	Archive   string `json:"archive"`
	Built     bool   `json:"built"`
}

// ParseBuiltImages reads the output of "go run ./hack/images list".
func ParseBuiltImages(output []byte) ([]BuiltImage, error) {
	var list []BuiltImage
	if err := json.Unmarshal(output, &list); err != nil {
		return nil, fmt.Errorf("reading the list of images: %w", err)
	}
	return list, nil
}
