// Package plan is the vocabulary of decisions. A plan is data: it says what is done to which object with which content, so
// that it can be printed, compared and checked before anything is done. The executor looks nothing up to complete it.
package plan
