// Package logtail follows the log of the process beside the agent: it counts the handshakes that clients broke off, by the revision that was
// served when the line was written, copies the log, and frees what it has read, because the log lies in memory.
package logtail
