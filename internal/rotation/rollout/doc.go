// Package rollout decides about leaves and pods: which leaf is issued anew, which material is published, and which pod is asked to
// use it, one after the other.
package rollout
