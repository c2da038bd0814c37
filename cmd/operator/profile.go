//go:build profile

package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"

	ctrl "sigs.k8s.io/controller-runtime"
)

// An operator that was built with the tag profile, as "make bench-fleet PROFILE=folder" does, writes profiles of its processor time and of
// its heap into the folder PGTLS_PROFILE, once, at the signal SIGUSR1. The operator that is shipped has none of this.
func init() {
	folder := os.Getenv("PGTLS_PROFILE")
	if folder == "" {
		return
	}
	cpu, err := os.Create(filepath.Join(folder, "cpu.pprof"))
	if err == nil {
		err = pprof.StartCPUProfile(cpu)
	}
	if err != nil {
		ctrl.Log.Error(err, "profiling the operator", "folder", folder)
		return
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		<-asked
		pprof.StopCPUProfile()
		writeHeap(filepath.Join(folder, "heap.pprof"))
		_ = os.WriteFile(filepath.Join(folder, "done"), nil, 0o600)
	}()
}

func writeHeap(file string) {
	heap, err := os.Create(file)
	if err == nil {
		runtime.GC() // the profile is of what the last collection left
		err = pprof.WriteHeapProfile(heap)
	}
	if err != nil {
		ctrl.Log.Error(err, "profiling the operator's heap", "file", file)
	}
}
