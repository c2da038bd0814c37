package evidence

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// How long the kubelet gets to deliver what a pod was asked for, before it is
// told to look again. It takes a quarter of a second as a rule.
const (
	retriggerPauseMin = 700 * time.Millisecond
	retriggerPauseMax = 30 * time.Second
)

// Retriggers remembers when the kubelet of a pod was last told to look again.
type Retriggers struct {
	mu   sync.Mutex
	pods map[types.UID]retriggered
}

type retriggered struct {
	cluster  types.NamespacedName
	revision string // that is waited for
	count    int
	next     time.Time
}

func NewRetriggers() *Retriggers { return &Retriggers{pods: map[types.UID]retriggered{}} }

// Due returns when the kubelet may be told again to deliver a revision.
func (n *Retriggers) Due(cluster types.NamespacedName, pod types.UID, revision string, now time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	last, ok := n.pods[pod]
	if !ok || last.revision != revision {
		last = retriggered{cluster: cluster, revision: revision, next: now.Add(retriggerPauseMin)}
		n.pods[pod] = last
	}
	return last.next
}

// Take counts a retrigger and returns the value that makes it a change of the pod.
func (n *Retriggers) Take(pod types.UID, revision string, now time.Time) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.pods[pod]
	last.revision = revision
	last.count++
	last.next = now.Add(min(retriggerPauseMin<<min(last.count, 6), retriggerPauseMax))
	n.pods[pod] = last
	return fmt.Sprintf("%s.%d", revision, last.count)
}

// KeepOnly forgets a cluster's pods that are not waited for.
func (n *Retriggers) KeepOnly(cluster types.NamespacedName, waiting map[types.UID]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for pod, last := range n.pods {
		if last.cluster == cluster && !waiting[pod] {
			delete(n.pods, pod)
		}
	}
}
