package main

import "testing"

func TestSysctlsCutShortByAKillStopNothing(t *testing.T) {
	l := layout{state: t.TempDir()}
	if err := restoreSysctls(l); err != nil {
		t.Errorf("nothing remembered: %v", err)
	}
	if err := writeFile(l.path("sysctls.json"), []byte(`{"/proc/sys/kern`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := restoreSysctls(l); err != nil {
		t.Errorf("half remembered: %v", err)
	}
}
