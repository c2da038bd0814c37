// Package agent is the sidecar beside PostgreSQL or PgBouncer. It takes material that the kubelet
// delivers into use, makes the process beside it load it, sees on the wire that it did, and reports.
//
// One goroutine turns: observe (files, annotation, what is installed), Decide (pure), perform
// (install, reload, handshake), publish (the report). It turns when a watched directory changes, when a certificate
// reaches the last sixth of its life, and after a failure with back-off; at rest it sleeps.
//
// Another goroutine follows the log of the process and counts the handshakes that clients broke off.
//
// Two HTTPS servers run beside it: the agent's own, and in instance pods the one in front of the Patroni REST API.
// They take their certificate from the installed material at each handshake.
package agent
