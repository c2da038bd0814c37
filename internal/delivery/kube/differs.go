package kube

import "sigs.k8s.io/controller-runtime/pkg/client"

// Differs reports whether Apply would write: whether desired is not in force in live, the object of its name as it is on the
// API server. It reads nothing.
func Differs(a *Applier, desired, live client.Object) (bool, error) {
	rendered, err := render(a, desired)
	if err != nil {
		return false, err
	}
	same, err := inForce(rendered, live)
	return !same, err
}
