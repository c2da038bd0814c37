package kube_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"pgtls.dev/pgtls/internal/delivery/kube"
)

// The objects of a new cluster wake one reconciliation, and what changes later wakes it at once.
func TestNewObjectsWakeOneReconciliation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		defer queue.ShutDown()
		h := kube.Settling(&handler.EnqueueRequestForObject{})
		object := &corev1.Secret{}
		object.Name = "a"
		for range 3 {
			h.Create(t.Context(), event.CreateEvent{Object: object}, queue)
			time.Sleep(kube.SettlingTime / 4)
			synctest.Wait()
		}
		if queue.Len() != 0 {
			t.Errorf("%d requests before the objects are all there", queue.Len())
		}
		time.Sleep(kube.SettlingTime)
		synctest.Wait()
		if queue.Len() != 1 {
			t.Fatalf("%d requests for three objects", queue.Len())
		}
		take := func() reconcile.Request {
			request, _ := queue.Get()
			queue.Done(request)
			return request
		}
		if got := take().NamespacedName; got != (types.NamespacedName{Name: "a"}) {
			t.Errorf("%s is woken", got)
		}
		h.Update(t.Context(), event.UpdateEvent{ObjectOld: object, ObjectNew: object}, queue)
		if queue.Len() != 1 {
			t.Error("a changed object wakes nothing at once")
		}
		take()
		h.Create(t.Context(), event.CreateEvent{Object: object, IsInInitialList: true}, queue)
		if queue.Len() != 1 {
			t.Error("an object of the first list wakes nothing at once")
		}
	})
}
