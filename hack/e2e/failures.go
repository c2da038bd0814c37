package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// What is kept of a story's words: the first lines of its last messages.
const (
	keptMessages = 12
	keptLength   = 400
)

// failures passes on what the stories say, and remembers the messages of each, so that those of the failed ones can be said again.
type failures struct {
	out io.Writer

	rest     []byte // of a line
	story    string // whose lines come now: stories run side by side
	messages map[string][]string
	failed   []string
}

var (
	turn    = regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +TestStory/(\S+)`)
	failure = regexp.MustCompile(`^ *--- FAIL: TestStory/(\S+)`)
	message = regexp.MustCompile(`^ +(\S+_test\.go:\d+: .*)`)
)

// Write never fails for a reason of its own.
func (f *failures) Write(p []byte) (int, error) {
	f.rest = append(f.rest, p...)
	for {
		line, rest, found := bytes.Cut(f.rest, []byte("\n"))
		if !found {
			break
		}
		f.take(string(line))
		f.rest = rest
	}
	return f.out.Write(p)
}

func (f *failures) take(line string) {
	if found := turn.FindStringSubmatch(line); found != nil {
		f.story = found[1]
	} else if found := failure.FindStringSubmatch(line); found != nil {
		if !slices.Contains(f.failed, found[1]) {
			f.failed = append(f.failed, found[1])
		}
	} else if found := message.FindStringSubmatch(line); found != nil {
		f.keep(found[1])
	}
}

func (f *failures) keep(text string) {
	if f.messages == nil {
		f.messages = map[string][]string{}
	}
	kept := append(f.messages[f.story], fmt.Sprintf("%.*s", keptLength, text))
	f.messages[f.story] = kept[max(0, len(kept)-keptMessages):]
}

// print says again what each failed story said.
func (f *failures) print(out io.Writer) {
	for _, story := range f.failed {
		fmt.Fprintf(out, "--- the last messages of the failed story %s\n    %s\n", story, strings.Join(f.messages[story], "\n    "))
	}
}
