package kube

import (
	"errors"
	"fmt"
)

// ForeignObject is the reason code for an object of a wanted name that belongs to somebody else.
const ForeignObject = "ForeignObject"

// ForeignObjectError says that an object of the wanted name exists and is not controlled by the cluster.
// It was left as it is.
type ForeignObjectError struct{ Kind, Namespace, Name string }

func (e *ForeignObjectError) Error() string {
	return fmt.Sprintf("%s %s/%s exists and does not belong to this cluster: it is left alone; delete it or give the cluster another name",
		e.Kind, e.Namespace, e.Name)
}

// AsForeign finds the ForeignObjectError in an error.
func AsForeign(err error) (*ForeignObjectError, bool) {
	var foreign *ForeignObjectError
	ok := errors.As(err, &foreign)
	return foreign, ok
}
