package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// kubeletSysctls are the whole machine's settings that a kubelet changes when it starts.
var kubeletSysctls = []string{
	"/proc/sys/kernel/keys/root_maxbytes",
	"/proc/sys/kernel/keys/root_maxkeys",
	"/proc/sys/kernel/panic",
	"/proc/sys/kernel/panic_on_oops",
	"/proc/sys/vm/overcommit_memory",
	"/proc/sys/vm/panic_on_oom",
}

// rememberSysctls keeps what the machine had, before the first kubelet starts.
func rememberSysctls(l layout) error {
	values := map[string]string{}
	for _, path := range kubeletSysctls {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		values[path] = string(content)
	}
	content, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("encoding sysctls: %w", err)
	}
	return writeFile(l.path("sysctls.json"), content, 0o644)
}

// restoreSysctls gives the machine back what rememberSysctls kept, if it came to that.
func restoreSysctls(l layout) error {
	content, err := os.ReadFile(l.path("sysctls.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	values := map[string]string{}
	if err := json.Unmarshal(content, &values); err != nil {
		return nil // cut short by a kill, so no kubelet has started since
	}
	for path, value := range values {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("restoring sysctl: %w", err)
		}
	}
	return nil
}
