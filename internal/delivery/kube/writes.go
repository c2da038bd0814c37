package kube

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Writes remembers, by cluster, what the API server answered to each own write, until a cache is known to hold that or something newer.
// A reader that lays it over what a cache holds reads its own writes, and need not wait for the cache.
//
// It relies on resource versions of one resource being numbers that grow, as the API machinery says since Kubernetes 1.35 and etcd has
// always had it. An answer whose version is no number makes the cluster doubtful: it is to be read past the cache.
type Writes struct {
	now      func() time.Time
	mu       sync.Mutex
	clusters map[types.NamespacedName]map[writeKey]write
	doubtful map[types.NamespacedName]bool
}

type writeKey struct {
	kind reflect.Type
	name string
}

// write is an object as an own write has left it.
type write struct {
	object  client.Object
	version uint64
	gone    bool
	at      time.Time
}

// CacheLag is how long a cache may lack an own write. Then the object may as well have been deleted since, in a moment in which the watch
// was interrupted: the API server is to be asked.
const CacheLag = 10 * time.Second

// NewWrites remembers nothing yet.
func NewWrites(now func() time.Time) *Writes {
	return &Writes{now: now, clusters: map[types.NamespacedName]map[writeKey]write{}, doubtful: map[types.NamespacedName]bool{}}
}

// Doubtful reports whether an own write to a cluster's objects may have happened that is not known, or is long not seen by the cache.
func (w *Writes) Doubtful(cluster types.NamespacedName) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doubtful[cluster]
}

// Settle is called with everything of a cluster that was read past the cache and that a cache would hold as well. What the cache must
// come to hold is from then on what was read; an object that was not read is not waited for.
func (w *Writes) Settle(cluster types.NamespacedName, live ...client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, read := w.clusters[cluster], map[writeKey]write{}
	for _, object := range live {
		key := keyOf(object)
		version, err := versionOf(object)
		if _, known := before[key]; err == nil && (known || w.doubtful[cluster]) {
			read[key] = write{object: copyOf(object), version: version, at: w.now()}
		}
	}
	for key, mine := range before {
		if _, there := read[key]; mine.gone && !there {
			read[key] = mine
		}
	}
	w.clusters[cluster] = read
	if len(read) == 0 {
		delete(w.clusters, cluster)
	}
	delete(w.doubtful, cluster)
}

// Forget forgets the writes to the objects of a cluster that is gone.
func (w *Writes) Forget(cluster types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.clusters, cluster)
	delete(w.doubtful, cluster)
}

// Seen is called with an object of a cluster that a cache has come to hold, or to hold no longer (gone). What it outdates is forgotten.
func (w *Writes) Seen(cluster types.NamespacedName, object client.Object, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	mine, known := w.clusters[cluster][keyOf(object)]
	version, err := versionOf(object)
	switch {
	case !known || err != nil:
	case object.GetUID() != mine.object.GetUID() && version < mine.version: // an earlier one of that name
	case gone || !mine.gone && version >= mine.version || object.GetUID() != mine.object.GetUID():
		w.drop(cluster, keyOf(object))
	}
}

// IsOwn reports whether an object that a cache has come to hold is exactly what an own write has left, so that it is known already.
func (w *Writes) IsOwn(cluster types.NamespacedName, object client.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	mine, known := w.clusters[cluster][keyOf(object)]
	return known && !mine.gone && mine.object.GetUID() == object.GetUID() && mine.object.GetResourceVersion() == object.GetResourceVersion()
}

// Lags reports whether a cache lacks some own write to a cluster's objects. What it has is forgotten.
func (w *Writes) Lags(ctx context.Context, cluster types.NamespacedName, cache client.Reader) bool {
	lags := false
	for _, object := range w.of(cluster) {
		err := cache.Get(ctx, client.ObjectKeyFromObject(object), object)
		if err == nil {
			w.Seen(cluster, object, false)
		}
		lags = lags || err != nil // one that was deleted is missing as well: its event, or the next look, tells
	}
	return lags && len(w.of(cluster)) > 0
}

// of returns copies of what own writes have left of a cluster's objects.
func (w *Writes) of(cluster types.NamespacedName) (objects []client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, mine := range w.clusters[cluster] {
		if mine.gone {
			continue
		}
		objects = append(objects, mine.object.DeepCopyObject().(client.Object))
	}
	return objects
}

// Latest returns the newer of a cached object and the own write to it; nil where there is none. cached is nil where the cache has none,
// and then like names the object, with nothing but its kind, namespace and name.
func (w *Writes) Latest(cluster types.NamespacedName, like, cached client.Object) client.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	mine, known := w.clusters[cluster][keyOf(like)]
	if !known {
		return cached
	}
	return w.newer(cluster, cached, mine)
}

// Overlay returns the objects of one kind that a cache holds of a cluster, with the own writes laid over them. of has the kind.
func (w *Writes) Overlay(cluster types.NamespacedName, of client.Object, cached []client.Object) (objects []client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind, met := reflect.TypeOf(of), map[string]bool{}
	for _, object := range cached {
		met[object.GetName()] = true
		if mine, known := w.clusters[cluster][keyOf(object)]; known {
			object = w.newer(cluster, object, mine)
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
	for key, mine := range w.clusters[cluster] {
		if key.kind != kind || met[key.name] {
			continue
		}
		if object := w.newer(cluster, nil, mine); object != nil {
			objects = append(objects, object)
		}
	}
	return objects
}

// newer returns an object as it is after an own write; nil: it is gone.
func (w *Writes) newer(cluster types.NamespacedName, cached client.Object, mine write) client.Object {
	if cached != nil {
		version, err := versionOf(cached)
		anew := mine.gone && cached.GetUID() != mine.object.GetUID()
		if err != nil || anew || !mine.gone && version >= mine.version {
			w.drop(cluster, keyOf(cached))
			return cached
		}
	}
	if cached == nil && mine.gone {
		return nil
	}
	if w.now().Sub(mine.at) > CacheLag {
		w.doubtful[cluster] = true
	}
	if mine.gone {
		return nil
	}
	return mine.object.DeepCopyObject().(client.Object)
}

func (w *Writes) drop(cluster types.NamespacedName, key writeKey) {
	delete(w.clusters[cluster], key)
	if len(w.clusters[cluster]) == 0 {
		delete(w.clusters, cluster)
	}
}

// note remembers an own write, or that it is not known whether there was one.
func (w *Writes) note(cluster types.NamespacedName, object client.Object, gone bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if !refused(err) {
			w.doubtful[cluster] = true
		}
		return
	}
	version, err := versionOf(object)
	if err != nil && !gone {
		w.doubtful[cluster] = true
		return
	}
	if w.clusters[cluster] == nil {
		w.clusters[cluster] = map[writeKey]write{}
	}
	w.clusters[cluster][keyOf(object)] = write{object: copyOf(object), version: version, gone: gone, at: w.now()}
}

// refused reports whether the API server is known to have written nothing.
func refused(err error) bool {
	return apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err) ||
		apierrors.IsNotFound(err) || apierrors.IsBadRequest(err)
}

// copyOf leaves out what caches leave out as well.
func copyOf(object client.Object) client.Object {
	copied := object.DeepCopyObject().(client.Object)
	copied.SetManagedFields(nil)
	return copied
}

func keyOf(object client.Object) writeKey { return writeKey{reflect.TypeOf(object), object.GetName()} }

func versionOf(object client.Object) (uint64, error) {
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading resource version %q of %s: %w", object.GetResourceVersion(), object.GetName(), err)
	}
	return version, nil
}

// Client is a client whose writes are noted. clusterOf names the cluster that an object is of; false: its writes are not noted.
func (w *Writes) Client(c client.Client, clusterOf func(client.Object) (types.NamespacedName, bool)) client.Client {
	return &notingClient{Client: c, notes: notes{w, clusterOf}}
}

type notes struct {
	writes    *Writes
	clusterOf func(client.Object) (types.NamespacedName, bool)
}

// of notes what an object has become by a write, which may have been refused.
func (n notes) of(object client.Object, gone bool, err error) error {
	if cluster, ok := n.clusterOf(object); ok {
		n.writes.note(cluster, object, gone, err)
	}
	return err
}

// notingClient is a client whose writes are noted.
type notingClient struct {
	client.Client
	notes notes
}

func (c *notingClient) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	return c.notes.of(object, false, c.Client.Create(ctx, object, options...))
}

func (c *notingClient) Update(ctx context.Context, object client.Object, options ...client.UpdateOption) error {
	return c.notes.of(object, false, c.Client.Update(ctx, object, options...))
}

func (c *notingClient) Patch(ctx context.Context, object client.Object, patch client.Patch, options ...client.PatchOption) error {
	return c.notes.of(object, false, c.Client.Patch(ctx, object, patch, options...))
}

// Delete is noted as done unless a finalizer holds the object: what it is then only the API server says.
func (c *notingClient) Delete(ctx context.Context, object client.Object, options ...client.DeleteOption) error {
	err := c.Client.Delete(ctx, object, options...)
	if err == nil && len(object.GetFinalizers()) > 0 {
		return c.doubt(object)
	}
	return c.notes.of(object, true, err)
}

func (c *notingClient) doubt(object client.Object) error {
	if cluster, ok := c.notes.clusterOf(object); ok {
		c.notes.writes.note(cluster, object, false, errUnknown)
	}
	return nil
}

var errUnknown = errors.New("what was written is not known")

// Apply turns what comes back into the kind that readers ask for, where the scheme knows it.
func (c *notingClient) Apply(ctx context.Context, applied runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	return c.applied(applied, c.Client.Apply(ctx, applied, options...))
}

func (c *notingClient) applied(applied runtime.ApplyConfiguration, err error) error {
	object, isObject := applied.(client.Object)
	content, isContent := applied.(runtime.Unstructured)
	if !isObject || !isContent {
		return err
	}
	typed, unknown := c.Scheme().New(object.GetObjectKind().GroupVersionKind())
	whole, ok := typed.(client.Object)
	if unknown != nil || !ok {
		return err // a kind that no cache is asked for
	}
	if bad := runtime.DefaultUnstructuredConverter.FromUnstructured(content.UnstructuredContent(), whole); bad != nil && err == nil {
		_ = c.doubt(object)
		return nil
	}
	return c.notes.of(whole, false, err)
}

func (c *notingClient) Status() client.SubResourceWriter {
	return &notingStatus{SubResourceWriter: c.Client.Status(), client: c}
}

// notingStatus notes writes of a status: what comes back is the whole object.
type notingStatus struct {
	client.SubResourceWriter
	client *notingClient
}

func (s *notingStatus) Apply(ctx context.Context, applied runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
	return s.client.applied(applied, s.SubResourceWriter.Apply(ctx, applied, options...))
}
