package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// benchResult is what a run of pgbench --connect came to.
type benchResult struct {
	processed int      // transactions, and so connections, that went well
	errors    []string // one for each transaction or connection that did not
}

// parseBench reads what pgbench printed. It fails when there is no result at
// all: then even pgbench's first connection, which it makes for itself, came to nothing.
func parseBench(stdout, stderr string) (benchResult, error) {
	processed, err := figure(stdout, benchProcessed)
	if err != nil {
		return benchResult{}, err
	}
	failed, err := figure(stdout, benchFailed)
	if err != nil {
		return benchResult{}, err
	}
	result := benchResult{processed: processed, errors: complaints(stderr)}
	// A transaction that failed after its connection stood is counted by pgbench, not always complained of.
	for len(result.errors) < failed {
		result.errors = append(result.errors, "pgbench: a transaction failed")
	}
	return result, nil
}

var (
	benchProcessed = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
	benchFailed    = regexp.MustCompile(`(?m)^number of failed transactions: (\d+)`)
)

func figure(stdout string, line *regexp.Regexp) (int, error) {
	match := line.FindStringSubmatch(stdout)
	if match == nil {
		return 0, fmt.Errorf("pgbench printed no line that matches %q", line)
	}
	return strconv.Atoi(match[1])
}

// complaints are pgbench's errors. What only says that a run with an error ended is none.
func complaints(stderr string) []string {
	var found []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "pgbench: error:"):
		case strings.Contains(line, "Run was aborted"), strings.Contains(line, "aborted while establishing connection"):
		default:
			found = append(found, line)
		}
	}
	return found
}
