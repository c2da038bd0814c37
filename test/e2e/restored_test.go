//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/test/harness"
)

// A cluster comes back: its objects were orphaned, or restored from a backup without owner references, or an old backup of its
// Secrets is applied over it. Its authority is the same, its data too, and clients with the bundle of before go on.
func restored(s *story) {
	object := s.cluster().WithInstances(2).WithPoolers(1).With(withoutSoak).Build()
	cluster := s.created(object.DeepCopy())
	s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
	c := s.withClient(cluster, object)
	_, err := c.client.AsPrimary(s.Context(), "create table kept as select 1 as answer")
	s.must(err)
	server, clients := s.authority(c, "server", 1), s.authority(c, "client", 1)

	r := &restoring{story: s, cluster: c, object: object}
	r.orphaned()
	r.deleted()
	if !s.authority(c, "server", 1).Certificate.Equal(server.Certificate) || !s.authority(c, "client", 1).Certificate.Equal(clients.Certificate) {
		s.Error("an authority is another one")
	}
	r.oldBackup()
	s.fact("adopted", r.adopted)
	s.fact("foreign", r.foreign)
}

type restoring struct {
	*story
	cluster          *living
	object           *v1beta1.PostgresCluster
	adopted, foreign int
}

// kinds are those of a cluster's objects.
func kinds() []client.ObjectList {
	return []client.ObjectList{
		&corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{}, &corev1.ServiceAccountList{}, &corev1.PersistentVolumeClaimList{},
		&appsv1.StatefulSetList{}, &appsv1.DeploymentList{}, &policyv1.PodDisruptionBudgetList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
	}
}

// objects of the cluster, of every kind.
func (r *restoring) objects() (all []client.Object) {
	r.Helper()
	for _, list := range kinds() {
		r.must(kube.List(r.Context(), list, client.InNamespace(r.cluster.Namespace), client.MatchingLabels{harness.ClusterLabel: r.cluster.Name}))
		switch l := list.(type) {
		case *corev1.SecretList:
			all = add(all, l.Items)
		case *corev1.ConfigMapList:
			all = add(all, l.Items)
		case *corev1.ServiceList:
			all = add(all, l.Items)
		case *corev1.ServiceAccountList:
			all = add(all, l.Items)
		case *corev1.PersistentVolumeClaimList:
			all = add(all, l.Items)
		case *appsv1.StatefulSetList:
			all = add(all, l.Items)
		case *appsv1.DeploymentList:
			all = add(all, l.Items)
		case *policyv1.PodDisruptionBudgetList:
			all = add(all, l.Items)
		case *rbacv1.RoleList:
			all = add(all, l.Items)
		case *rbacv1.RoleBindingList:
			all = add(all, l.Items)
		}
	}
	return all
}

func add[T any, P interface {
	*T
	client.Object
}](all []client.Object, items []T) []client.Object {
	for i := range items {
		all = append(all, P(&items[i]))
	}
	return all
}

// awaitOwned waits until every object has the cluster of now as its controller, and counts them.
func (r *restoring) awaitOwned() {
	r.Helper()
	count := 0
	r.eventually("every object to be taken back", 2*time.Minute, func(ctx context.Context) string {
		cluster, err := r.cluster.Get(ctx)
		if err != nil {
			return err.Error()
		}
		objects := r.objects()
		count = len(objects)
		for _, object := range objects {
			if !metav1.IsControlledBy(object, cluster) {
				return fmt.Sprintf("%T %s is controlled by %+v", object, object.GetName(), metav1.GetControllerOf(object))
			}
		}
		return ""
	})
	r.adopted += count
	cluster, err := r.cluster.Get(r.Context())
	r.must(err)
	for _, condition := range cluster.Status.Conditions {
		if condition.Reason == "ForeignObject" || condition.Reason == "ForeignSecret" {
			r.foreign++
			r.Errorf("%s: %s: %s", condition.Type, condition.Reason, condition.Message)
		}
	}
}

// still checks what must have survived: the row, and the bundle of before.
func (r *restoring) still() {
	r.Helper()
	r.must(r.cluster.AwaitReady(r.Context(), firstRolloutLimit))
	rows, err := r.cluster.client.AsPrimary(r.Context(), "select answer from kept")
	r.must(err)
	r.rowsAre("the data", rows, "1")
}

func (r *restoring) recreated() {
	r.Helper()
	r.must(kube.Create(r.Context(), r.object.DeepCopy()))
}

// orphaned: kubectl delete --cascade=orphan, and the same manifest again. Pods run on, and no client notices.
func (r *restoring) orphaned() {
	r.Helper()
	pods := r.identities(r.cluster)
	old := r.trusting(r.cluster, "before-orphaning", r.bundleOf(r.cluster))
	l := r.underLoad(r.cluster, light)
	r.must(kube.Delete(r.Context(), &v1beta1.PostgresCluster{ObjectMeta: metav1.ObjectMeta{Namespace: r.cluster.Namespace, Name: r.cluster.Name}},
		client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	r.eventually("the cluster to be gone", time.Minute, func(ctx context.Context) string {
		if _, err := r.cluster.Get(ctx); !apierrors.IsNotFound(err) {
			return fmt.Sprint("it is there: ", err)
		}
		return ""
	})
	r.recreated()
	r.awaitOwned()
	r.still()
	r.must(r.cluster.RequestRenewal(r.Context())) // certificates are renewed again
	before := l.deliveries.Serving()
	r.must(l.deliveries.AwaitNew(r.Context(), before, readyLimit))
	r.tried(50, old)
	r.noneFailed("the bundle of before", old)
	l.end()
	r.same("pods and restarts", pods, r.identities(r.cluster))
}

// exported is the cluster's Secrets and ConfigMaps as a backup has them: without owner references and what the server writes.
func (r *restoring) exported() (backup []client.Object) {
	r.Helper()
	for _, object := range r.objects() {
		switch object.(type) {
		case *corev1.Secret, *corev1.ConfigMap:
		default:
			continue
		}
		copied := object.DeepCopyObject().(client.Object)
		copied.SetOwnerReferences(nil)
		copied.SetUID("")
		copied.SetResourceVersion("")
		copied.SetManagedFields(nil)
		copied.SetFinalizers(nil)
		backup = append(backup, copied)
	}
	return backup
}

// deleted: the cluster is deleted with everything but its volumes, and comes back from a backup without owner references.
func (r *restoring) deleted() {
	r.Helper()
	backup := r.exported()
	bundle := r.bundleOf(r.cluster)
	r.must(kube.ScaleOperator(r.Context(), 0)) // or it would take the claims back at once
	r.keepClaims()
	r.must(kube.Delete(r.Context(), &v1beta1.PostgresCluster{ObjectMeta: metav1.ObjectMeta{Namespace: r.cluster.Namespace, Name: r.cluster.Name}}))
	r.eventually("everything but the claims to be gone", 2*time.Minute, func(context.Context) string {
		for _, object := range r.objects() {
			if !r.stays(object) {
				return fmt.Sprintf("%T %s is there", object, object.GetName())
			}
		}
		if pods := r.podsOf(r.cluster); len(pods) > 0 {
			return pods[0].Name + " is there"
		}
		return ""
	})
	for _, object := range backup {
		if err := kube.Create(r.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
			r.must(err)
		}
	}
	r.recreated()
	r.must(kube.ScaleOperator(r.Context(), 1))
	r.awaitOwned()
	r.still()
	if now := r.bundleOf(r.cluster); now != bundle {
		r.Errorf("the ConfigMap holds another bundle:\n%s\nand before:\n%s", now, bundle)
	}
	old := r.trusting(r.cluster, "before-deleting", bundle)
	r.tried(50, old)
	r.noneFailed("the bundle of before", old)
}

// stays says what a deletion leaves: the claims, and ConfigMaps that a Patroni on its way down wrote anew after they had been collected.
func (r *restoring) stays(object client.Object) bool {
	_, claim := object.(*corev1.PersistentVolumeClaim)
	return claim || slices.Contains(desired.PatroniConfigMaps(r.cluster.Name), object.GetName()) && metav1.GetControllerOf(object) == nil
}

// keepClaims takes the owner from the claims, so that the garbage collector leaves them, as a backup tool restores them.
func (r *restoring) keepClaims() {
	r.Helper()
	for _, object := range r.objects() {
		if claim, is := object.(*corev1.PersistentVolumeClaim); is {
			before := claim.DeepCopy()
			claim.OwnerReferences = nil
			r.must(kube.Patch(r.Context(), claim, client.MergeFrom(before)))
		}
	}
}

// oldBackup: after a re-key an old backup of the Secrets is applied. What pods serve wins, and what was retired is not trusted again.
func (r *restoring) oldBackup() {
	r.Helper()
	backup := r.exported()
	dropped := r.authority(r.cluster, "server", 1)
	r.annotate(r.cluster, rotateAnnotation, "server:restored")
	r.awaitGeneration(r.cluster, "server", 2)
	r.awaitFollower(r.cluster)
	served := r.authority(r.cluster, "server", 2)
	pods := r.identities(r.cluster)
	l := r.underLoad(r.cluster, light)
	for _, object := range backup {
		if _, secret := object.(*corev1.Secret); secret { // the ConfigMap is what clients hold, and they would lose trust at once
			r.must(r.apply(object))
		}
	}
	r.must(r.cluster.AwaitHandled(r.Context(), readyLimit))
	r.awaitGeneration(r.cluster, "server", 2)
	if !r.authority(r.cluster, "server", 2).Certificate.Equal(served.Certificate) {
		r.Error("the active authority is another one")
	}
	r.awaitSteady(r.cluster, l.deliveries, readyLimit)
	l.end()
	r.refusedEverywhere(r.cluster, "server", dropped)
	r.same("pods and restarts", pods, r.identities(r.cluster))
}

// apply writes an object as a restore does: over what is there, where that can be changed.
func (r *restoring) apply(object client.Object) error {
	err := kube.Create(r.Context(), object.DeepCopyObject().(client.Object))
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	err = kube.Update(r.Context(), object)
	if apierrors.IsInvalid(err) { // an immutable one
		return nil
	}
	return errors.Join(err)
}
