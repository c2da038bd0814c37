package act

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Written remembers the last own write of each Secret, so that a watch need not tell of it.
type Written struct {
	mu       sync.Mutex
	versions map[types.UID]string
}

func (w *Written) note(object client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions == nil {
		w.versions = map[types.UID]string{}
	}
	w.versions[object.GetUID()] = object.GetResourceVersion()
}

// Own reports whether an object is as it was left by the last own write.
func (w *Written) Own(object client.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	version, known := w.versions[object.GetUID()]
	return known && version == object.GetResourceVersion()
}

// Gone forgets an object that is deleted.
func (w *Written) Gone(object client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.versions, object.GetUID())
}
