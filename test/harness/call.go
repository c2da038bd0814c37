package harness

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

// A Call is a request to the API server about the objects of one namespace.
type Call struct {
	Method   string // GET, POST, PUT, PATCH or DELETE
	Resource string // with its subresource
	Name     string // empty for a list, a watch and a create
	Owner    string // field manager, where the call names one
	Marks    string // the annotations of pgtls that a patch sets, without their domain
}

func (c Call) String() string {
	var parts []string
	for _, part := range []string{c.Method, c.Resource, c.Name, c.Owner, c.Marks} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, " ")
}

// Reads tells whether the call changes nothing.
func (c Call) Reads() bool { return c.Method == http.MethodGet || c.Method == http.MethodHead }

// Writes tells whether the call changes something that counts. Events and Leases do not: nothing is decided by them.
func (c Call) Writes() bool { return !c.Reads() && c.Resource != "events" && c.Resource != "leases" }

// callOf reads a request. Its body can be read again afterwards.
func callOf(r *http.Request, namespace string) (call Call, ours bool) {
	_, rest, found := strings.Cut(r.URL.Path, "/namespaces/"+namespace+"/")
	if !found {
		return Call{}, false
	}
	parts := strings.Split(rest, "/")
	call = Call{Method: r.Method, Resource: parts[0], Owner: r.URL.Query().Get("fieldManager")}
	if len(parts) > 1 {
		call.Name = parts[1]
	}
	if len(parts) > 2 {
		call.Resource += "/" + strings.Join(parts[2:], "/")
	}
	if r.Method == http.MethodPatch {
		call.Marks = marksIn(r)
	}
	return call, true
}

// marksIn tells apart the patches of one object: what was decided stands in its annotations.
func marksIn(r *http.Request) string {
	content, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(content), failing{err}))
	var object struct {
		Metadata struct {
			Annotations map[string]any `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(content, &object) != nil {
		return "" // another form of patch
	}
	var marks []string
	for key := range object.Metadata.Annotations {
		if mark, ours := strings.CutPrefix(key, "pgtls.dev/"); ours {
			marks = append(marks, mark)
		}
	}
	slices.Sort(marks)
	return strings.Join(marks, ",")
}

// failing ends a body as its reading ended.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}
