package logtail

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Bounds of following a log, whatever is written to it.
const (
	followBuffer = 32 << 10
	longestLine  = 2 << 10   // a line that is longer tells of no handshake
	freeAfter    = 256 << 10 // what was read is freed by portions of this size
)

// follower reads a file that another process appends to, and frees what it has read: the file is in memory, and
// no other program makes it smaller. It survives that the file is not there yet, cut short or replaced.
type follower struct {
	path   string
	file   *os.File // nil: there is none
	offset int64    // read up to here
	freed  int64

	begun     bool   // there was a file before
	restarted bool   // by the last next: places mean something else than before
	failure   string // of the last next, "" when it has found something or nothing
	partial   []byte // of a line that has not ended yet
	overlong  bool   // the rest of that line is of no interest
	buffer    []byte

	punch func(file *os.File, from, length int64) error
}

func newFollower(path string) *follower {
	return &follower{path: path, buffer: make([]byte, followBuffer), punch: punchHole}
}

func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close() // only read
		f.file = nil
	}
}

// next returns the next piece, which is valid until it is called again; nothing when all is read.
func (f *follower) next() ([]byte, error) {
	f.restarted = false
	f.free()
	if f.file != nil {
		if n, _ := f.file.ReadAt(f.buffer, f.offset); n > 0 {
			f.offset += int64(n)
			return f.buffer[:n], nil
		}
	}
	if err := f.reopen(); err != nil || f.file == nil {
		return nil, err
	}
	n, err := f.file.ReadAt(f.buffer, f.offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	f.offset += int64(n)
	return f.buffer[:n], err
}

// failed reports whether an error is another one than before: a log that cannot be read is looked at often. That it
// is not there yet is no error.
func (f *follower) failed(err error) (news bool) {
	text := ""
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		text = err.Error()
	}
	news = text != "" && text != f.failure
	f.failure = text
	return news
}

// reopen looks whether the file is still the one that is open, and has not become shorter than what was read of it.
func (f *follower) reopen() error {
	info, err := os.Stat(f.path)
	if err != nil {
		f.close()
		return err
	}
	if f.file != nil {
		if open, err := f.file.Stat(); err == nil && os.SameFile(open, info) {
			if info.Size() < f.offset {
				f.begin(0)
			}
			return nil
		}
		f.close()
	}
	if f.file, err = os.OpenFile(f.path, os.O_RDWR, 0); err != nil {
		f.file = nil
		return err
	}
	f.begin(firstData(f.file))
	return nil
}

func (f *follower) begin(offset int64) {
	f.restarted, f.begun = f.begun, true
	f.offset, f.freed, f.partial, f.overlong = offset, offset, f.partial[:0], false
}

// free gives back what was read. The size of the file stays, and places in it mean the same as before. Where the
// file system cannot do that, the file is cut once all is read; what is written at that very moment is lost.
func (f *follower) free() {
	until := f.offset - f.offset%int64(os.Getpagesize())
	if f.file == nil || until-f.freed < freeAfter {
		return
	}
	if f.punch(f.file, f.freed, until-f.freed) == nil {
		f.freed = until
		return
	}
	if info, err := f.file.Stat(); err == nil && info.Size() <= f.offset && f.file.Truncate(0) == nil {
		f.restarted, f.offset, f.freed = true, 0, 0
	}
}

// lines calls each for every line of a piece that has ended, with the place behind it.
func (f *follower) lines(chunk []byte, each func(line []byte, end int64)) {
	end := f.offset - int64(len(chunk))
	for len(chunk) > 0 {
		piece, rest, ended := bytes.Cut(chunk, []byte{'\n'})
		end += int64(len(chunk) - len(rest))
		f.append(piece)
		if ended && !f.overlong && len(f.partial) > 0 {
			each(f.partial, end)
		}
		if ended {
			f.partial, f.overlong = f.partial[:0], false
		}
		chunk = rest
	}
}

func (f *follower) append(piece []byte) {
	f.overlong = f.overlong || len(f.partial)+len(piece) > longestLine
	if !f.overlong {
		f.partial = append(f.partial, piece...)
	}
}

// firstData is where the first byte stands that an earlier process of this agent has not freed.
func firstData(file *os.File) int64 {
	const seekData = 3 // SEEK_DATA of lseek(2)
	offset, err := file.Seek(0, seekData)
	if err == nil {
		return offset
	}
	if info, statErr := file.Stat(); statErr == nil && errors.Is(err, syscall.ENXIO) {
		return info.Size() // nothing but holes
	}
	return 0
}

// punchHole frees a part of a file.
func punchHole(file *os.File, from, length int64) error {
	const keepSize, hole = 0x01, 0x02 // FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of fallocate(2)
	return syscall.Fallocate(int(file.Fd()), keepSize|hole, from, length)
}
