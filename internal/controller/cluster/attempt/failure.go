package attempt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"pgtls.dev/pgtls/internal/delivery/kube"
)

// A Failure is what came of an attempt, in words that are the same at each attempt: they stand in the status.
type Failure struct {
	Step   string
	About  string // the object, as "Kind namespace/name"; empty for a failure of the step as a whole
	Text   string // cause, fact and remedy
	Exists bool   // the object is there and is the cluster's, with what it held before
	Leaves bool   // the namespace is being deleted
}

// Message says what failed, and why.
func (f Failure) Message() string {
	if f.About == "" {
		return f.Step + ": " + f.Text
	}
	return f.About + ": " + f.Text
}

// Of returns the failure behind an error of a step.
func Of(step string, err error) Failure {
	f := Failure{Step: step, Text: Stable(err.Error())}
	if object, ok := kube.AsObject(err); ok {
		f.About, f.Exists = object.Object.String(), object.Exists
		f.Text = kube.Explain(err).String()
	}
	f.Leaves = kube.CauseOf(err) == kube.NamespaceTerminating
	return f
}

// ConflictOnly tells whether every error in a joined one is a conflict.
func ConflictOnly(err error) bool {
	if err == nil {
		return false
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, member := range joined.Unwrap() {
			if !ConflictOnly(member) {
				return false
			}
		}
		return true
	}
	return apierrors.IsConflict(err)
}

var address = regexp.MustCompile(`(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\])(:\d+)?`)

// Stable takes out of an error's text what differs from one attempt to the next: addresses with their ports.
func Stable(text string) string { return address.ReplaceAllString(text, "(address)") }

// Unanswered says in stable words why a pod gave no answer.
func Unanswered(err error) string {
	var operation *net.OpError
	var name *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it does not answer in time"
	case errors.As(err, &name):
		return fmt.Sprintf("its name %s does not resolve", name.Name)
	case errors.As(err, &operation):
		return Stable(fmt.Sprintf("%s: %v", operation.Op, operation.Err))
	default:
		return Stable(err.Error())
	}
}
