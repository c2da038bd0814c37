// Package mounts reads what is mounted and unmounts what the cluster mounted.
package mounts

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is what one line of /proc/self/mountinfo says that matters here (proc_pid_mountinfo(5)).
type Mount struct {
	Point string
	Type  string
}

func parseMountinfo(content string) ([]Mount, error) {
	var mounts []Mount
	for line := range strings.Lines(content) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 1 {
			return nil, fmt.Errorf("mountinfo line %q is not understood", line)
		}
		mounts = append(mounts, Mount{Point: unescape(fields[4]), Type: rest[0]})
	}
	return mounts, nil
}

// unescape resolves the kernel's \ooo for blanks and backslashes in paths.
func unescape(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if code, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(path[i])
	}
	return out.String()
}

// Read gives the mounts of this process.
func Read() ([]Mount, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMountinfo(string(content))
}

// below gives the mount points at or below dir in the order in which they can
// be unmounted: the newest first.
func below(mounts []Mount, dir string) []string {
	var points []string
	for _, m := range mounts {
		if m.Point == dir || strings.HasPrefix(m.Point, dir+"/") {
			points = append(points, m.Point)
		}
	}
	slices.Reverse(points)
	return points
}

// UnmountBelow unmounts everything at or below dir, and fails when something is
// left: what follows deletes the directory with all that it then holds.
func UnmountBelow(dir string) error {
	mounts, err := Read()
	if err != nil {
		return err
	}
	for _, point := range below(mounts, dir) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			return fmt.Errorf("unmounting %s: %w", point, err)
		}
	}
	mounts, err = Read()
	if err != nil {
		return err
	}
	if left := below(mounts, dir); len(left) > 0 {
		return fmt.Errorf("%s is still mounted: unmount it by hand", left[0])
	}
	return nil
}
