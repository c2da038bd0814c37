// Package kube delivers desired objects to the API server. Every write is a
// server-side apply by one field owner or carries a precondition, and there is
// no write at all when nothing differs.
package kube
