// Package attempt makes failures values: what failed in a round stands in the status in stable words, and is tried again after a pause that
// doubles.
package attempt
