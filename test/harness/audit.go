package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"pgtls.dev/pgtls/test/platform"
)

// AuditVariable names the environment variable with the path of the API server's audit log.
const AuditVariable = "PGTLS_AUDIT_LOG"

const devclusterAuditLog = "/var/lib/pgtls-devcluster/audit.log"

// Write is a request that changed something, or tried to.
type Write struct {
	At        time.Time
	User      string
	Verb      string
	Resource  string // with its subresource
	Namespace string
	Name      string
}

func (w Write) String() string {
	return fmt.Sprintf("%s %s %s %s %s/%s", w.At.Format("15:04:05.000"), w.User, w.Verb, w.Resource, w.Namespace, w.Name)
}

// AuditLog is the API server's own account of each write and its writer.
type AuditLog struct {
	path string
	from int64
}

// OpenAuditLog begins at the present end. It fails with os.ErrNotExist on a cluster whose audit log is not here.
func OpenAuditLog() (*AuditLog, error) {
	path := os.Getenv(AuditVariable)
	if path == "" {
		path = devclusterAuditLog
	}
	if os.Getenv(platform.ContextVariable) != "" && os.Getenv(AuditVariable) == "" {
		return nil, fmt.Errorf("finding the audit log of context %s: %w", os.Getenv(platform.ContextVariable), os.ErrNotExist)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("finding the audit log: %w", err)
	}
	return &AuditLog{path: path, from: info.Size()}, nil
}

// Writes since the log was opened that match.
func (l *AuditLog) Writes(match func(Write) bool) ([]Write, error) {
	file, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(l.from, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return parseAudit(file, match)
}

// auditEvent is what is wanted of an audit.k8s.io/v1 Event.
type auditEvent struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Stage    string    `json:"stage"`
	Received time.Time `json:"requestReceivedTimestamp"`
}

func parseAudit(r io.Reader, match func(Write) bool) ([]Write, error) {
	var writes []Write
	reader := bufio.NewReader(r)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return writes, nil // a line without its end is still being written
		}
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("reading the audit log's line %.100q: %w", line, err)
		}
		if write := event.write(); event.changes() && match(write) {
			writes = append(writes, write)
		}
	}
}

func (e auditEvent) changes() bool {
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return e.Stage == "ResponseComplete" || e.Stage == "Panic"
	}
	return false
}

func (e auditEvent) write() Write {
	resource := e.ObjectRef.Resource
	if e.ObjectRef.Subresource != "" {
		resource += "/" + e.ObjectRef.Subresource
	}
	return Write{At: e.Received, User: e.User.Username, Verb: e.Verb, Resource: resource, Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name}
}
