// Package snapshot holds what was observed of a cluster. It is pure data: package gather fills it in, packages rotation and
// request decide from it, package act works on a copy, and package report says what it shows.
package snapshot
