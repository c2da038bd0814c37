// Package ha asks Patroni's REST API of the instances, with a bound on each answer, and computes the change of its dynamic configuration.
package ha
