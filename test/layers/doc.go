// Package layers holds the tests that look at the repository itself: who may
// import whom, that every reason is documented, and that no file names a path
// of the machine it was written on.
package layers
