// Package denial finds out why Kubernetes does not make a pod: a StatefulSet has no condition for it, and says so in an event.
package denial
