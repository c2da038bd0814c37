package act

import (
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Issued collects what was issued to a cluster until it is told in one event: the API server keeps of events that differ in their text alone
// the first text, and a new cluster gets nine certificates.
type Issued struct {
	mu       sync.Mutex
	clusters map[types.NamespacedName][]string
}

// longestNote is what an event of the API server may say, less what is said of the rest.
const longestNote = 1024 - 40

func (i *Issued) add(cluster types.NamespacedName, format string, args ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.clusters == nil {
		i.clusters = map[types.NamespacedName][]string{}
	}
	i.clusters[cluster] = append(i.clusters[cluster], fmt.Sprintf(format, args...))
}

// Forget forgets a cluster that is gone.
func (i *Issued) Forget(cluster types.NamespacedName) { _ = i.take(cluster) }

func (i *Issued) take(cluster types.NamespacedName) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.clusters[cluster]
	delete(i.clusters, cluster)
	return taken
}

// clusterOf names the cluster of a round.
func clusterOf(v *round) types.NamespacedName { return client.ObjectKeyFromObject(v.Cluster) }

// TellIssued sends one event about everything that was issued to a cluster since the last one.
func (x *Executor) TellIssued(cluster *v1beta1.PostgresCluster) {
	if texts := x.Issued.take(client.ObjectKeyFromObject(cluster)); len(texts) > 0 {
		x.Events.Eventf(cluster, nil, eventNormal, eventIssued, "Rotate", "%s", noteOf(texts))
	}
}

// noteOf joins texts as far as an event can hold them, and counts the rest.
func noteOf(texts []string) string {
	note := texts[0]
	for i, text := range texts[1:] {
		if len(note)+len("; ")+len(text) > longestNote {
			return fmt.Sprintf("%s; and %d more", note, len(texts)-1-i)
		}
		note = strings.Join([]string{note, text}, "; ")
	}
	return note
}
