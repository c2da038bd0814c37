package kube

import (
	"errors"
	"fmt"
)

// ObjectError is a failed request about one object.
type ObjectError struct {
	Object
	Act    string // "applying", "deleting", ...
	Exists bool   // of an Apply: the object is there and is the cluster's, with what it held before
	Err    error  // of the API server or the connection
}

func (e *ObjectError) Error() string { return fmt.Sprintf("%s %s: %v", e.Act, e.Object, e.Err) }

func (e *ObjectError) Unwrap() error { return e.Err }

func failed(act string, object Object, err error) error {
	return &ObjectError{Object: object, Act: act, Err: err}
}

// AsObject finds the first ObjectError in an error.
func AsObject(err error) (*ObjectError, bool) {
	var found *ObjectError
	ok := errors.As(err, &found)
	return found, ok
}
