package evidence

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Terminations remembers where sessions were ended. After a restart the operator ends them once more, which is harmless.
type Terminations struct {
	mu   sync.Mutex
	pods map[types.UID]swept
}

type swept struct {
	facts.Terminated
	cluster types.NamespacedName
}

func NewTerminations() *Terminations { return &Terminations{pods: map[types.UID]swept{}} }

func (s *Terminations) Of(pod types.UID) facts.Terminated {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[pod].Terminated
}

func (s *Terminations) Take(pod types.UID, cluster types.NamespacedName, lists string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.pods[pod]
	if last.Lists != lists {
		last = swept{cluster: cluster, Terminated: facts.Terminated{Lists: lists, First: now}}
	}
	last.Last = now
	s.pods[pod] = last
}

// KeepOnly forgets a cluster's pods that are gone.
func (s *Terminations) KeepOnly(cluster types.NamespacedName, keys map[Run]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[types.UID]bool{}
	for key := range keys {
		kept[key.UID] = true
	}
	for pod, last := range s.pods {
		if last.cluster == cluster && !kept[pod] {
			delete(s.pods, pod)
		}
	}
}
