package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const operatorUser = "operator"

// policy has the API server note the operator's requests, one line for each, and no other.
const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
- level: Metadata
  users: ["` + operatorUser + `"]
- level: None
`

// audit is the API server's log of the operator's requests.
type audit struct{ policy, log string }

func newAudit(folder string) (*audit, error) {
	a := &audit{policy: filepath.Join(folder, "policy.yaml"), log: filepath.Join(folder, "audit.log")}
	return a, os.WriteFile(a.policy, []byte(policy), 0o600)
}

// requests that an operator has made. Watches are not among them: there is one for each kind.
type requests struct {
	all, lists, writes int
	byKind             map[string]int // verb, resource and code
}

type event struct {
	Verb      string `json:"verb"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

func (a *audit) requests() (requests, error) {
	r := requests{byKind: map[string]int{}}
	file, err := os.Open(a.log)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer func() { _ = file.Close() }()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var e event
		if json.Unmarshal(scanner.Bytes(), &e) == nil { // the last line may be half written
			r.add(e)
		}
	}
	return r, scanner.Err()
}

func (r *requests) add(e event) {
	switch e.Verb {
	case "watch", "":
		return
	case "list":
		r.lists++
	case "create", "update", "patch", "delete", "deletecollection":
		r.writes++
	}
	r.all++
	r.byKind[fmt.Sprintf("%s %s %s %d", e.Verb, e.ObjectRef.Resource, e.ObjectRef.Subresource, e.ResponseStatus.Code)]++
}

// since are the requests that an earlier count did not have.
func (r *requests) since(earlier requests) requests {
	later := requests{r.all - earlier.all, r.lists - earlier.lists, r.writes - earlier.writes, map[string]int{}}
	for name, count := range r.byKind {
		if more := count - earlier.byKind[name]; more > 0 {
			later.byKind[name] = more
		}
	}
	return later
}

// lines tell what the requests are, the most frequent first.
func (r *requests) lines(clusters int) (lines []string) {
	type kind struct {
		name  string
		count int
	}
	var kinds []kind
	for name, count := range r.byKind {
		kinds = append(kinds, kind{name, count})
	}
	slices.SortFunc(kinds, func(a, b kind) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.name, b.name)) })
	for _, k := range kinds {
		lines = append(lines, fmt.Sprintf("  %6.2f  %s", float64(k.count)/float64(clusters), k.name))
	}
	return lines
}
