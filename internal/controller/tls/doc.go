// Package tls keeps the certificates of PostgresClusters. Each reconciliation gathers what is the case (package gather), decides
// (rotation.Next, and package request for cert-manager), acts (package act) until no step is due, and reports (package report).
// No function does two of these, and no type.
//
// A step that fails ends its lane only: it is tried again after a pause that grows, and what else can be done is done.
package tls
