// Package denial finds out why Kubernetes does not make a pod: a StatefulSet has no condition for it, and says so in an event.
// It also says when Kubernetes is worth a prompt to try again: its own pause grows to 1,000 s, and the end of a denial does not shorten it.
package denial
