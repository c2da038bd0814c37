// Package rekey decides about authorities: which is active, what every bundle is to hold, and when a re-key moves on or is undone.
// The safety argument of docs/rotation.md rests on the guards in rules.go and guards.go.
package rekey
