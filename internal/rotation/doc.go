// Package rotation is the whole decision about certificates: facts in, plan out.
//
// Next reads no clock, does no I/O, starts no goroutine and knows no Kubernetes.
// The operator executes a Plan and observes again; tests explore it. Phase is
// derived from what is observed and stored nowhere, so a crash, a deleted status
// or a restored backup is just another observation.
//
// The words are those of docs/rotation.md.
package rotation
