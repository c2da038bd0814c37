package logtail

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// logFile is a log as a process writes it.
type logFile struct {
	t    *testing.T
	path string
}

func newLogFile(t *testing.T) *logFile {
	t.Helper()
	return &logFile{t: t, path: filepath.Join(t.TempDir(), "process.log")}
}

func (l *logFile) append(text string) {
	l.t.Helper()
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = file.WriteString(text)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		l.t.Fatal(err)
	}
}

// allocated is what the file takes, in bytes, whatever its size.
func (l *logFile) allocated() int64 {
	l.t.Helper()
	info, err := os.Stat(l.path)
	if err != nil {
		l.t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// drained is what a follower finds until the end.
type drained struct {
	lines     []string
	bytes     string
	restarted bool
}

func drainLog(t *testing.T, f *follower) drained {
	t.Helper()
	var got drained
	for {
		chunk, err := f.next()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		got.restarted = got.restarted || f.restarted
		if len(chunk) == 0 {
			return got
		}
		got.bytes += string(chunk)
		f.lines(chunk, func(line []byte, _ int64) { got.lines = append(got.lines, string(line)) })
	}
}

func (d drained) expect(t *testing.T, what string, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(lines, d.lines); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFollowing(t *testing.T) {
	log := newLogFile(t)
	f := newFollower(log.path)
	defer f.close()
	drainLog(t, f).expect(t, "before the file is there")
	log.append("one\ntw")
	drainLog(t, f).expect(t, "a file that appears late", "one")
	log.append("o\n\nthr")
	drainLog(t, f).expect(t, "the rest of a line", "two")
	log.append("ee\n")
	if got := drainLog(t, f); got.restarted || got.bytes != "ee\n" {
		t.Errorf("got %+v", got)
	} else {
		got.expect(t, "another rest", "three")
	}

	if err := os.Truncate(log.path, 0); err != nil {
		t.Fatal(err)
	}
	log.append("four\n")
	if got := drainLog(t, f); !got.restarted {
		t.Error("a file that was cut short is taken for the old one")
	} else {
		got.expect(t, "after it was cut short", "four")
	}
	log.append("unread\nhal")
	if err := os.Rename(log.path, log.path+".old"); err != nil {
		t.Fatal(err)
	}
	log.append("five, which is longer than what was read before\n")
	if got := drainLog(t, f); !got.restarted {
		t.Error("a file that was replaced is taken for the old one")
	} else {
		got.expect(t, "after it was replaced", "unread", "five, which is longer than what was read before")
	}
	if err := os.Remove(log.path); err != nil {
		t.Fatal(err)
	}
	if drainLog(t, f).expect(t, "without a file"); f.file != nil {
		t.Error("a file that is gone is still open")
	}
	log.append("six\n")
	if got := drainLog(t, f); !got.restarted {
		t.Error("a file that came back is taken for the old one")
	} else {
		got.expect(t, "a file that came back", "six")
	}
}

func TestPlacesAreThoseOfTheFile(t *testing.T) {
	log := newLogFile(t)
	f := newFollower(log.path)
	defer f.close()
	log.append("one\ntw")
	var ends []int64
	collect := func() {
		chunk, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		f.lines(chunk, func(_ []byte, end int64) { ends = append(ends, end) })
	}
	collect()
	log.append("o\n\nthree\n")
	collect()
	if diff := cmp.Diff([]int64{4, 8, 15}, ends); diff != "" {
		t.Error(diff)
	}
}

func TestHugeLinesCostNoMemoryAndHideNothing(t *testing.T) {
	log := newLogFile(t)
	f := newFollower(log.path)
	defer f.close()
	huge := strings.Repeat("x", 5*followBuffer)
	log.append("before\n" + huge + "\nafter\n" + strings.Repeat("y", longestLine) + "\n" + strings.Repeat("z", longestLine+1) + "\nend\n")
	got := drainLog(t, f)
	got.expect(t, "lines around a huge one", "before", "after", strings.Repeat("y", longestLine), "end")
	if !strings.Contains(got.bytes, huge) || !strings.HasSuffix(got.bytes, "\nend\n") {
		t.Error("the copy is not what was written")
	}
	if cap(f.partial) > 2*longestLine || len(f.buffer) != followBuffer {
		t.Errorf("holds %d and %d bytes", cap(f.partial), len(f.buffer))
	}
}

// What was read is given back, and nothing is lost by it, also not for a follower that starts later.
func TestWhatWasReadIsFreed(t *testing.T) {
	log := newLogFile(t)
	f := newFollower(log.path)
	defer f.close()
	line := strings.Repeat("l", 99) + "\n"
	var all bytes.Buffer
	for n := range 40 {
		portion := strings.Repeat(line, 1000)
		log.append(portion)
		got := drainLog(t, f)
		all.WriteString(got.bytes)
		if len(got.lines) != 1000 || got.restarted {
			t.Fatalf("portion %d: %d lines, restarted %v", n, len(got.lines), got.restarted)
		}
		if held := log.allocated(); held > freeAfter+200<<10 {
			t.Fatalf("after portion %d the file takes %d bytes", n, held)
		}
	}
	if all.Len() != 40*100_000 {
		t.Errorf("read %d bytes", all.Len())
	}
	log.append("last\n")
	later := newFollower(log.path)
	defer later.close()
	got := drainLog(t, later)
	if len(got.lines) == 0 || got.lines[len(got.lines)-1] != "last" || len(got.bytes) > freeAfter+200<<10 || strings.Contains(got.bytes, "\x00\n") {
		t.Errorf("one that starts later finds %d lines in %d bytes", len(got.lines), len(got.bytes))
	}
}

// A file system that cannot give back a part of a file has the file cut, once all is read.
func TestFreeingByCutting(t *testing.T) {
	log := newLogFile(t)
	f := newFollower(log.path)
	defer f.close()
	f.punch = func(*os.File, int64, int64) error { return syscall.EOPNOTSUPP }
	log.append(strings.Repeat("line\n", freeAfter/4) + "unfin")
	drainLog(t, f)
	if info, err := os.Stat(log.path); err != nil || info.Size() != 0 {
		t.Fatalf("the file has %d bytes, %v", info.Size(), err)
	}
	log.append("ished\nnext\n")
	drainLog(t, f).expect(t, "after the cut", "unfinished", "next")
}

func TestAnErrorIsNewsOnce(t *testing.T) {
	f := newFollower("")
	denied, other := errors.New("denied"), errors.New("other")
	for n, step := range []struct {
		err  error
		news bool
	}{{nil, false}, {os.ErrNotExist, false}, {denied, true}, {denied, false}, {other, true}, {nil, false}, {other, true}} {
		if got := f.failed(step.err); got != step.news {
			t.Errorf("step %d, %v: %v", n, step.err, got)
		}
	}
}
