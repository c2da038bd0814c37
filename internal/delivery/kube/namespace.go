package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrNamespaceTerminating says that nothing is written because the namespace is being deleted, or is gone.
var ErrNamespaceTerminating = errors.New("the namespace is being deleted")

// namespaceFresh is how long it is believed that a namespace stays. A write that comes too late is harmless: the API server makes nothing new in a
// namespace that terminates, and deletes the rest.
const namespaceFresh = time.Second

// Namespaces knows which namespaces are being deleted. It reads one before something is written to it, and not again for a second,
// so that clusters at rest cost no read.
type Namespaces struct {
	live client.Reader
	now  func() time.Time

	mu      sync.Mutex
	seen    map[string]namespaceState
	reading map[string]*sync.Mutex
}

type namespaceState struct {
	at          time.Time
	terminating bool
}

// NewNamespaces reads past the cache.
func NewNamespaces(live client.Reader, now func() time.Time) *Namespaces {
	return &Namespaces{live: live, now: now, seen: map[string]namespaceState{}, reading: map[string]*sync.Mutex{}}
}

// MayWrite returns ErrNamespaceTerminating for a namespace that is being deleted. Where the operator's role does not allow it to read
// namespaces, the API server's own answer to a write has to do.
func (n *Namespaces) MayWrite(ctx context.Context, name string) error {
	state, known := n.remembered(name)
	if !known {
		reading := n.readingOf(name) // by one, and not by each of the clusters that have something to write
		reading.Lock()
		defer reading.Unlock()
		state, known = n.remembered(name)
	}
	if !known {
		var err error
		if state, err = n.read(ctx, name); err != nil {
			return err
		}
	}
	if state.terminating {
		return fmt.Errorf("namespace %s: %w", name, ErrNamespaceTerminating)
	}
	return nil
}

func (n *Namespaces) remembered(name string) (namespaceState, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	state, known := n.seen[name]
	return state, known && n.now().Sub(state.at) < namespaceFresh
}

func (n *Namespaces) readingOf(name string) *sync.Mutex {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reading[name] == nil {
		n.reading[name] = &sync.Mutex{}
	}
	return n.reading[name]
}

func (n *Namespaces) read(ctx context.Context, name string) (namespaceState, error) {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := n.live.Get(ctx, client.ObjectKey{Name: name}, metadata)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return namespaceState{}, failed("reading", Object{Kind: "Namespace", Name: name}, err)
	}
	state := namespaceState{at: n.now(), terminating: apierrors.IsNotFound(err) || err == nil && metadata.DeletionTimestamp != nil}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen[name] = state
	return state, nil
}
