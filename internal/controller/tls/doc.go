// Package tls executes what rotation.Next decides: it observes a cluster's
// authorities, material, pods, agents and what they serve, asks for a plan,
// takes its steps, and tells in status and events.
//
// observe.go reads, package rotation decides, act.go writes; no function does two of these. What can be seen of pods is
// gathered by package evidence.
package tls
