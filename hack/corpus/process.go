package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// postgresID is uid and gid of the user postgres in both images.
const postgresID = 26

// scratch is the directory of a run inside an image, for whatever it writes.
const scratch = "/run/corpus"

// image is an unpacked root file system.
type image struct{ root string }

// command runs a program of the image as postgres. It dies with this process, whatever ends it.
func (i image) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, program, args...)
	command.Path, command.Err = program, nil // looked up in the image, not here
	command.Dir = "/"
	command.Env = []string{"LC_ALL=C.UTF-8", "HOME=/nonexistent", "PATH=/usr/bin:/bin"}
	command.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     i.root,
		Credential: &syscall.Credential{Uid: postgresID, Gid: postgresID},
		Pdeathsig:  syscall.SIGKILL,
	}
	return command
}

// prepare empties the scratch directory: an interrupted run leaves it.
func (i image) prepare(folders ...string) error {
	if err := os.RemoveAll(i.path("")); err != nil {
		return err
	}
	for _, folder := range append([]string{""}, folders...) {
		if err := os.MkdirAll(i.path(folder), 0o700); err != nil {
			return err
		}
		if err := os.Chown(i.path(folder), postgresID, postgresID); err != nil {
			return err
		}
	}
	return nil
}

// path is where a file of the scratch directory is for us.
func (i image) path(name string) string { return filepath.Join(i.root, scratch, name) }

// write makes a file that only postgres may read; without content there is none.
func (i image) write(name string, content []byte) error {
	path := i.path(name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if content == nil {
		return nil
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return os.Chown(path, postgresID, postgresID)
}

// writeAll writes pairs of name and content.
func (i image) writeAll(files map[string][]byte) error {
	for name, content := range files {
		if err := i.write(name, content); err != nil {
			return err
		}
	}
	return nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// await asks until the answer is yes, the process has ended, or time is up.
func await(ctx context.Context, ended <-chan struct{}, patience time.Duration, ready func() bool) bool {
	timeout := time.After(patience)
	for {
		if ready() {
			return true
		}
		select {
		case <-ended:
			return false
		case <-timeout:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// daemon is a process that this program has started and ends, by its id.
type daemon struct {
	command *exec.Cmd
	ended   chan struct{}
}

func start(command *exec.Cmd) (*daemon, error) {
	if err := command.Start(); err != nil {
		return nil, err
	}
	d := &daemon{command, make(chan struct{})}
	go func() {
		_ = command.Wait() // that it ended is what counts
		close(d.ended)
	}()
	return d, nil
}

// stop asks it to end, and makes it after a while.
func (d *daemon) stop(sig syscall.Signal) {
	_ = d.command.Process.Signal(sig)
	select {
	case <-d.ended:
	case <-time.After(5 * time.Second):
		_ = d.command.Process.Kill()
		<-d.ended
	}
}
