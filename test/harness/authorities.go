package harness

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Authorities remembers every authority that was ever stored for a cluster, from the API server's own account of each change.
type Authorities struct {
	cluster *Cluster
	watch   watch.Interface
	done    sync.WaitGroup

	mu       sync.Mutex
	known    map[string]sighting // by the Secret's name, a copy's as its original's
	second   []string            // what should never be
	restored int
	broken   error
	stopping bool
}

// sighting is the authority that was first seen under a name.
type sighting struct {
	certificate [sha256.Size]byte
	uid         string // of the Secret of that name seen last
}

var authorityName = regexp.MustCompile(`-(server|client)-ca-g[0-9]+(-copy)?$`)

// WatchAuthorities begins with those that there are.
func (c *Cluster) WatchAuthorities(ctx context.Context) (*Authorities, error) {
	a := &Authorities{cluster: c, known: map[string]sighting{}}
	var list corev1.SecretList
	if err := c.Kube.List(ctx, &list, client.InNamespace(c.Namespace)); err != nil {
		return nil, fmt.Errorf("listing the authorities to watch: %w", err)
	}
	for i := range list.Items {
		a.seen(&list.Items[i])
	}
	resume := &client.ListOptions{Namespace: c.Namespace, Raw: resumeAt(list.ResourceVersion)}
	events, err := c.Kube.Watch(ctx, &corev1.SecretList{}, resume)
	if err != nil {
		return nil, fmt.Errorf("watching the authorities: %w", err)
	}
	a.watch = events
	a.done.Go(func() {
		for event := range events.ResultChan() {
			a.receive(event)
		}
		a.ended()
	})
	return a, nil
}

func (a *Authorities) receive(event watch.Event) {
	secret, ok := event.Object.(*corev1.Secret)
	if ok {
		a.seen(secret)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopping {
		a.broken = fmt.Errorf("watching the authorities: %v", event.Object)
	}
}

// ended: what was not watched to the end shows nothing.
func (a *Authorities) ended() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopping && a.broken == nil {
		a.broken = fmt.Errorf("watching the authorities: the watch ended by itself")
	}
}

// seen compares the Secret of an authority with what was stored first under its name.
func (a *Authorities) seen(secret *corev1.Secret) {
	if !authorityName.MatchString(secret.Name) {
		return
	}
	name, isCopy := strings.CutSuffix(secret.Name, "-copy")
	now := sighting{certificate: sha256.Sum256(secret.Data["ca.crt"]), uid: string(secret.UID)}
	a.mu.Lock()
	defer a.mu.Unlock()
	first, known := a.known[name]
	switch {
	case !known:
		a.known[name] = now
	case first.certificate != now.certificate:
		a.second = append(a.second, fmt.Sprintf("%s held %x and then %x", name, first.certificate[:4], now.certificate[:4]))
	case first.uid != now.uid && !isCopy:
		a.restored++
		a.known[name] = now
	}
}

// Names of all that were ever stored, sorted.
func (a *Authorities) Names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := make([]string, 0, len(a.known))
	for name := range a.known {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Seconds are the generations that had more than one key.
func (a *Authorities) Seconds() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.second)
}

// Restored is how often the Secret of an authority was made anew, with the same content.
func (a *Authorities) Restored() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.restored
}

// Stop ends the watch. One that broke on the way makes the observation worthless, and so an error.
func (a *Authorities) Stop() error {
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	a.watch.Stop()
	a.done.Wait()
	return a.broken
}
