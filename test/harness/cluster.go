package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
)

// What a cluster's objects are called; docs/architecture.md has the whole list.
const (
	ClusterLabel     = "pgtls.dev/cluster"
	ComponentLabel   = "pgtls.dev/component"
	RenewAnnotation  = "pgtls.dev/renew-requested-at"
	instances        = "instance"
	poolers          = "pgbouncer"
	primaryRole      = "primary"
	postgresPort     = "5432"
	deletionPatience = 3 * time.Minute
)

// Cluster is a PostgresCluster that exists.
type Cluster struct {
	Kube      *Kube
	Namespace string
	Name      string
}

// Create makes the namespace, if there is none, and the cluster. It does not wait.
func Create(ctx context.Context, kube *Kube, wanted *v1beta1.PostgresCluster) (*Cluster, error) {
	if err := kube.EnsureNamespace(ctx, wanted.Namespace); err != nil {
		return nil, err
	}
	if err := kube.Create(ctx, wanted); err != nil {
		return nil, fmt.Errorf("creating PostgresCluster %s/%s: %w", wanted.Namespace, wanted.Name, err)
	}
	return &Cluster{Kube: kube, Namespace: wanted.Namespace, Name: wanted.Name}, nil
}

// EnsureNamespace makes the namespace. One that is being deleted is waited for.
func (k *Kube) EnsureNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name,
		// What pgtls runs, and the client pod, must live with the strictest standard.
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	return Await(ctx, "namespace "+name, deletionPatience, func(ctx context.Context) string {
		var there corev1.Namespace
		switch err := k.Get(ctx, client.ObjectKey{Name: name}, &there); {
		case apierrors.IsNotFound(err):
			if err := k.Create(ctx, namespace.DeepCopy()); err != nil {
				return err.Error()
			}
			return ""
		case err != nil:
			return err.Error()
		case there.DeletionTimestamp != nil:
			return "an earlier one is still being deleted"
		}
		return ""
	})
}

// RemoveNamespace deletes the clusters in a namespace first, so that the operator can let their authorities go, and then the namespace.
func (k *Kube) RemoveNamespace(ctx context.Context, name string) error {
	if err := k.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{}); apierrors.IsNotFound(err) {
		return nil
	}
	err := k.DeleteAllOf(ctx, &v1beta1.PostgresCluster{}, client.InNamespace(name))
	if err != nil && !meta.IsNoMatchError(err) {
		return fmt.Errorf("deleting the clusters of %s: %w", name, err)
	}
	err = Await(ctx, "the clusters of "+name+" to be gone", deletionPatience, func(ctx context.Context) string {
		var left v1beta1.PostgresClusterList
		if err := k.List(ctx, &left, client.InNamespace(name)); err != nil && !meta.IsNoMatchError(err) {
			return err.Error()
		}
		if len(left.Items) > 0 {
			return fmt.Sprintf("%d left", len(left.Items))
		}
		return ""
	})
	if err != nil {
		return err
	}
	err = k.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("deleting namespace %s: %w", name, err)
	}
	return Await(ctx, "namespace "+name+" to be gone", deletionPatience, func(ctx context.Context) string {
		var there corev1.Namespace
		err := k.Get(ctx, client.ObjectKey{Name: name}, &there)
		switch {
		case apierrors.IsNotFound(err):
			return ""
		case err != nil:
			return err.Error()
		}
		return leftInNamespace(there)
	})
}

func leftInNamespace(namespace corev1.Namespace) string {
	var left []string
	for _, condition := range namespace.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			left = append(left, condition.Message)
		}
	}
	return "still there: " + strings.Join(left, "; ")
}

// Get reads the object.
func (c *Cluster) Get(ctx context.Context) (*v1beta1.PostgresCluster, error) {
	var cluster v1beta1.PostgresCluster
	if err := c.Kube.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: c.Name}, &cluster); err != nil {
		return nil, err
	}
	return &cluster, nil
}

// Change edits the object, again after a write conflict.
func (c *Cluster) Change(ctx context.Context, change func(*v1beta1.PostgresCluster)) error {
	for {
		cluster, err := c.Get(ctx)
		if err != nil {
			return err
		}
		before := cluster.DeepCopy()
		change(cluster)
		err = c.Kube.Patch(ctx, cluster, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}

// RequestRenewal asks for new leaves everywhere. Every call is a new request.
func (c *Cluster) RequestRenewal(ctx context.Context) error {
	return c.Change(ctx, func(cluster *v1beta1.PostgresCluster) {
		metav1.SetMetaDataAnnotation(&cluster.ObjectMeta, RenewAnnotation, time.Now().UTC().Format(time.RFC3339Nano))
	})
}

// AwaitReady waits until every condition that says that all is well says so of the present spec,
// and every endpoint is proven to serve a leaf.
func (c *Cluster) AwaitReady(ctx context.Context, limit time.Duration) error {
	return Await(ctx, fmt.Sprintf("cluster %s/%s to be ready", c.Namespace, c.Name), limit, c.notReady)
}

func (c *Cluster) notReady(ctx context.Context) string {
	cluster, err := c.Get(ctx)
	if err != nil {
		return err.Error()
	}
	for _, name := range []string{"Ready", "TLSReady"} {
		condition := meta.FindStatusCondition(cluster.Status.Conditions, name)
		switch {
		case condition == nil:
			return "no condition " + name + " yet"
		case condition.Status != metav1.ConditionTrue:
			return fmt.Sprintf("%s is %s: %s: %s", name, condition.Status, condition.Reason, condition.Message)
		case condition.ObservedGeneration != cluster.Generation:
			return name + " is about an earlier spec"
		}
	}
	return notProven(cluster)
}

// AwaitSettled waits until the cluster is ready, and both controllers say of the present spec that nothing goes on: then they have nothing
// more to write.
func (c *Cluster) AwaitSettled(ctx context.Context, limit time.Duration) error {
	return Await(ctx, fmt.Sprintf("cluster %s/%s to be settled", c.Namespace, c.Name), limit, func(ctx context.Context) string {
		if missing := c.notReady(ctx); missing != "" {
			return missing
		}
		cluster, err := c.Get(ctx)
		if err != nil {
			return err.Error()
		}
		condition := meta.FindStatusCondition(cluster.Status.Conditions, "Progressing")
		if condition == nil || condition.Reason != "Settled" || condition.ObservedGeneration != cluster.Generation {
			return fmt.Sprintf("Progressing is %+v", condition)
		}
		return ""
	})
}

func notProven(cluster *v1beta1.PostgresCluster) string {
	wanted := 0
	for _, set := range cluster.Spec.Instances {
		wanted += int(*set.Replicas)
	}
	if cluster.Spec.Proxy != nil {
		wanted += int(*cluster.Spec.Proxy.PGBouncer.Replicas)
	}
	if cluster.Status.TLS == nil {
		return "no status.tls yet"
	}
	pods := map[string]bool{}
	for _, endpoint := range cluster.Status.TLS.Endpoints {
		if endpoint.Reason != "" {
			return endpoint.Name + " is not proven: " + endpoint.Reason
		}
		pod, _, _ := strings.Cut(endpoint.Name, ":")
		pods[pod] = true
	}
	if len(pods) != wanted {
		return fmt.Sprintf("status.tls.endpoints has %d pods of %d", len(pods), wanted)
	}
	return ""
}

// Pods of the cluster that are not going away, by name; component "" for all.
func (c *Cluster) pods(ctx context.Context, component string) ([]corev1.Pod, error) {
	labels := client.MatchingLabels{ClusterLabel: c.Name}
	if component != "" {
		labels[ComponentLabel] = component
	}
	var list corev1.PodList
	if err := c.Kube.List(ctx, &list, client.InNamespace(c.Namespace), labels); err != nil {
		return nil, fmt.Errorf("listing the pods of %s: %w", c.Name, err)
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, nil
}

// Instances are the pods of PostgreSQL.
func (c *Cluster) Instances(ctx context.Context) ([]corev1.Pod, error) { return c.pods(ctx, instances) }

// Poolers are the pods of PgBouncer.
func (c *Cluster) Poolers(ctx context.Context) ([]corev1.Pod, error) { return c.pods(ctx, poolers) }

// Primary is the instance that Patroni says is the primary.
func (c *Cluster) Primary(ctx context.Context) (corev1.Pod, error) {
	pods, err := c.Instances(ctx)
	if err != nil {
		return corev1.Pod{}, err
	}
	for _, pod := range pods {
		if pod.Labels["role"] == primaryRole {
			return pod, nil
		}
	}
	return corev1.Pod{}, errors.New("no instance is the primary")
}

// Secrets of the cluster, by name.
func (c *Cluster) Secrets(ctx context.Context) ([]corev1.Secret, error) {
	var list corev1.SecretList
	err := c.Kube.List(ctx, &list, client.InNamespace(c.Namespace), client.MatchingLabels{ClusterLabel: c.Name})
	if err != nil {
		return nil, fmt.Errorf("listing the Secrets of %s: %w", c.Name, err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Secret) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// Target is something that loadgen connects to.
type Target struct {
	Name string
	Host string
	Port string
}

func (t Target) String() string { return t.Name + "=" + t.Host + ":" + t.Port }

// Service is the target behind a Service of the cluster: primary, replicas or pgbouncer.
func (c *Cluster) Service(name string) Target {
	return Target{Name: name, Host: fmt.Sprintf("%s-%s.%s.svc", c.Name, name, c.Namespace), Port: postgresPort}
}

// InstanceTarget is one instance's PostgreSQL under its own name.
func (c *Cluster) InstanceTarget(pod string) Target {
	return Target{Name: pod, Host: fmt.Sprintf("%s.%s-pods.%s.svc", pod, c.Name, c.Namespace), Port: postgresPort}
}

// AnyInstance is a list of all instances, of which a client takes the first that answers.
func (c *Cluster) AnyInstance(instances []corev1.Pod) Target {
	hosts := make([]string, len(instances))
	for i, pod := range instances {
		hosts[i] = c.InstanceTarget(pod.Name).Host
	}
	return Target{Name: "any-instance", Host: strings.Join(hosts, ","), Port: postgresPort}
}

// Targets are all that an application could connect to: the Services, and each instance directly.
func (c *Cluster) Targets(ctx context.Context) ([]Target, error) {
	instances, err := c.Instances(ctx)
	if err != nil {
		return nil, err
	}
	targets := []Target{c.Service("pgbouncer"), c.Service("primary"), c.Service("replicas")}
	for _, pod := range instances {
		targets = append(targets, c.InstanceTarget(pod.Name))
	}
	return targets, nil
}

// Endpoints are the pods that serve, by address: what is watched there is what that very pod serves.
func (c *Cluster) Endpoints(ctx context.Context) ([]Target, error) {
	pods, err := c.pods(ctx, "")
	if err != nil {
		return nil, err
	}
	var targets []Target
	for _, pod := range pods {
		component := pod.Labels[ComponentLabel]
		if component == instances || component == poolers {
			targets = append(targets, Target{Name: pod.Name, Host: pod.Status.PodIP, Port: postgresPort})
		}
	}
	return targets, nil
}

// Serials of the server leaves that are stored, by Secret.
func (c *Cluster) Serials(ctx context.Context) (map[string]string, error) {
	secrets, err := c.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	serials := map[string]string{}
	for _, secret := range secrets {
		if serial := storedSerial(secret); serial != "" {
			serials[secret.Name] = serial
		}
	}
	return serials, nil
}

// AwaitHandled waits until the operator has gone through a whole round that began after this call: it changes a field of the spec
// that means nothing without certificates from elsewhere, and waits for a status about that change. What the operator has not
// done by then about an earlier change, it does not do.
func (c *Cluster) AwaitHandled(ctx context.Context, limit time.Duration) error {
	err := c.Change(ctx, func(cluster *v1beta1.PostgresCluster) {
		if cluster.Spec.TLS == nil {
			cluster.Spec.TLS = &v1beta1.TLSSpec{}
		}
		other := v1beta1.SoakDuration("121s")
		if now := cluster.Spec.TLS.TrustPropagationDelay; now != nil && *now == other {
			other = "122s"
		}
		cluster.Spec.TLS.TrustPropagationDelay = &other
	})
	if err != nil {
		return err
	}
	return Await(ctx, "a round of the operator", limit, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil {
			return err.Error()
		}
		condition := meta.FindStatusCondition(cluster.Status.Conditions, "TLSReady")
		if condition == nil || condition.ObservedGeneration != cluster.Generation {
			return "the status is about an earlier spec"
		}
		return ""
	})
}

// TouchRequest changes the cluster without changing what was requested.
func (c *Cluster) TouchRequest(ctx context.Context) error {
	return c.Change(ctx, func(cluster *v1beta1.PostgresCluster) {
		metav1.SetMetaDataAnnotation(&cluster.ObjectMeta, "example.com/touched", time.Now().UTC().Format(time.RFC3339Nano))
	})
}
