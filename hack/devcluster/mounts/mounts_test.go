package mounts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mountinfo = `22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
40 22 0:30 / /state/etcd rw,relatime - tmpfs tmpfs rw,size=2g
41 22 0:31 / /state/a\040b\134c rw shared:7 master:2 - overlay overlay rw
42 41 0:32 / /state/a\040b\134c/inner rw - tmpfs tmpfs rw
43 22 0:33 / /state-of-others rw - tmpfs tmpfs rw
`

func TestMountinfoIsRead(t *testing.T) {
	got, err := parseMountinfo(mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{"/", "ext4"},
		{"/sys/fs/cgroup/cpu", "cgroup"},
		{"/state/etcd", "tmpfs"},
		{`/state/a b\c`, "overlay"},
		{`/state/a b\c/inner`, "tmpfs"},
		{"/state-of-others", "tmpfs"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMountinfoThatIsNotUnderstoodIsAnError(t *testing.T) {
	for _, content := range []string{"22 1 253:0 / / rw ext4\n", "22 1 - ext4\n", "22 1 253:0 / / rw -\n"} {
		if got, err := parseMountinfo(content); err == nil {
			t.Errorf("%q was read as %v", content, got)
		}
	}
}

func TestOnlyOwnMountsAreUnmountedAndInnerOnesFirst(t *testing.T) {
	mounts, err := parseMountinfo(mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`/state/a b\c/inner`, `/state/a b\c`, "/state/etcd"}
	if diff := cmp.Diff(want, below(mounts, "/state")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/state/etcd"}, below(mounts, "/state/etcd")); diff != "" {
		t.Error(diff)
	}
}
