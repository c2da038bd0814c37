package main

import (
	"io"
	"strings"
	"testing"
)

func TestTheMessagesOfFailedStoriesAreSaidAgain(t *testing.T) {
	f := &failures{out: io.Discard}
	for _, piece := range []string{
		"=== RUN   TestStory/one\n    story_test.go:1: fact of one\n=== RUN   TestStory/two\n    two_test.go:2: waiting for the", " end\n          a dump of a log\n",
		"=== CONT  TestStory/one\n    one_test.go:3: fine\n", "--- FAIL: TestStory (1s)\n    --- PASS: TestStory/one (1s)\n    --- FAIL: TestStory/two (1s)\n",
	} {
		if n, err := f.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	var said strings.Builder
	f.print(&said)
	if want := "--- the last messages of the failed story two\n    two_test.go:2: waiting for the end\n"; said.String() != want {
		t.Errorf("%q, want %q", said.String(), want)
	}
}

func TestOnlyTheLastMessagesAreKept(t *testing.T) {
	f := &failures{out: io.Discard}
	_, _ = f.Write([]byte("=== RUN   TestStory/a\n" + strings.Repeat("    a_test.go:1: "+strings.Repeat("x", 1000)+"\n", 100) + "--- FAIL: TestStory/a (1s)\n"))
	var said strings.Builder
	f.print(&said)
	if lines := strings.Count(said.String(), "\n"); lines != 1+keptMessages || said.Len() > 2+keptMessages*(keptLength+10)+60 {
		t.Errorf("%d lines, %d characters", lines, said.Len())
	}
}

func TestNothingIsSaidOfStoriesThatPass(t *testing.T) {
	f := &failures{out: io.Discard}
	_, _ = f.Write([]byte("=== RUN   TestStory/a\n    a_test.go:1: x\n--- PASS: TestStory/a (1s)\n"))
	var said strings.Builder
	if f.print(&said); said.Len() > 0 {
		t.Error(said.String())
	}
}
