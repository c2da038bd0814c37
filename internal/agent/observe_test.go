package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgtls.dev/pgtls/internal/pki"
)

func observerOf(v *volume) *observer {
	return &observer{materialDir: v.dir, activateFile: v.activateFile()}
}

func TestMountedFollowsTheKubelet(t *testing.T) {
	k, v := newKit(t, noon), newVolume(t)
	o := observerOf(v)
	if got := o.mounted(); got.revision != "" || got.candidate(noon) != nil || got.unreadable() {
		t.Errorf("an empty directory holds %+v", got)
	}
	good := k.material(usual())
	v.deliver(good)
	if got := o.mounted(); got.revision != good.revision() || got.candidate(noon).Refusal != nil {
		t.Errorf("mounted is %+v", got)
	}
	bad := good.with("server.crt", []byte("garbage"))
	v.deliver(bad)
	got := o.mounted()
	if c := got.candidate(noon); got.revision != bad.revision() || c == nil || pki.ReasonOf(c.Refusal) != pki.NotPEM {
		t.Errorf("mounted is %+v", got)
	}
	v.deliver(material{})
	if got := o.mounted(); got.revision != "" || got.candidate(noon) != nil {
		t.Errorf("a Secret without keys is %+v", got)
	}
}

func TestTheSameContentIsParsedOnce(t *testing.T) {
	k, v := newKit(t, noon), newVolume(t)
	o := observerOf(v)
	good := k.material(usual())
	v.deliver(good)
	first := o.mounted()
	v.deliver(good)
	if second := o.mounted(); second.material != first.material {
		t.Error("equal content was parsed again")
	}
}

// A delivery is read as a whole, however often the kubelet swaps meanwhile.
func TestADeliveryIsNeverMixed(t *testing.T) {
	v := newVolume(t)
	deliveries := map[string]bool{}
	var contents []material
	for n := range 4 {
		files := material{}
		for _, name := range materialFiles() {
			files[name] = bytes.Repeat([]byte{byte('a' + n)}, 4000)
		}
		contents = append(contents, files)
		deliveries[files.revision()] = true
	}
	v.deliver(contents[0])
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				files, err := readDelivery(v.dir)
				if err != nil {
					t.Error(err)
					return
				}
				if len(files) == len(materialFiles()) && !deliveries[pki.Revision(files)] {
					t.Error("files of two deliveries")
					return
				}
			}
		})
	}
	for n := range 200 {
		v.deliver(contents[n%len(contents)])
	}
	close(stop)
	readers.Wait()
}

func TestWhatIsNotReadFromAVolume(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a", 1)
	write(".hidden", 1)
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if files, err := readFiles(dir); err != nil || len(files) != 1 {
		t.Errorf("files are %v, %v", files, err)
	}
	write("big", maxFileBytes+1)
	if _, err := readFiles(dir); err == nil || !strings.Contains(err.Error(), "big has more than") {
		t.Errorf("a file of more than 1 MiB: %v", err)
	}
	write("big", maxFileBytes)
	if _, err := readFiles(dir); err != nil {
		t.Errorf("a file of 1 MiB: %v", err)
	}
	for n := range maxFiles {
		write(fmt.Sprint("f", n), 1)
	}
	if _, err := readFiles(dir); err == nil || !strings.Contains(err.Error(), "more than 32") {
		t.Errorf("many files: %v", err)
	}
}

// A directory that is gone is a refusal that is tried again, not "nothing delivered": no event may come from it.
func TestADirectoryThatCannotBeRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := &observer{materialDir: file}
	got := o.mounted()
	if !got.unreadable() || got.candidate(noon) == nil || got.candidate(noon).Refusal == nil {
		t.Errorf("mounted is %+v", got)
	}
}

func TestAsked(t *testing.T) {
	v := newVolume(t)
	o := observerOf(v)
	if got := o.asked(); got != "" {
		t.Errorf("without a file %q is asked", got)
	}
	for text, want := range map[string]string{
		"": "", "0123456789abcdef": "0123456789abcdef", " 0123456789abcdef\n": "0123456789abcdef", "\n": "",
		strings.Repeat("x", 4000): strings.Repeat("x", maxAskBytes),
	} {
		v.ask(text)
		if got := o.asked(); got != want {
			t.Errorf("%q asks for %q", text, got)
		}
	}
}
