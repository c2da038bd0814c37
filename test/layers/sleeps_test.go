package layers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// storyFolders hold tests that wait for other processes.
var storyFolders = []string{"test/e2e", "test/envtest", "test/pages"}

// allowedSleep lasts until a moment that the story is about, for the time whose writes are counted, or is a fault by chance.
var allowedSleep = regexp.MustCompile(`^time\.Sleep\((time\.Until\(|sized\.rest\)|rand\.)`)

// TestNoSleepIsAProof: a fixed time in which nothing happened shows nothing on a busy machine, and costs it on an idle one. What
// comes afterwards shows it: see Cluster.AwaitHandled in test/harness.
func TestNoSleepIsAProof(t *testing.T) {
	top := root(t)
	sleep := regexp.MustCompile(`time\.Sleep\([^\n]*`)
	for _, file := range trackedFiles(t, top) {
		if !strings.HasSuffix(file, ".go") || !within(file, storyFolders) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			continue // deleted, not yet committed
		}
		for _, call := range sleep.FindAll(content, -1) {
			if !allowedSleep.Match(call) {
				t.Errorf("%s: %s", file, call)
			}
		}
	}
}
