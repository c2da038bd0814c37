package cluster

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// facts are the objects of the cluster as the cache has them. Only those that the cluster controls or takes back count, but for
// pods and Patroni's ConfigMaps, which are made by others.
type facts struct {
	statefulSets map[string]*appsv1.StatefulSet           // by instance
	pods         map[string]*corev1.Pod                   // by instance
	volumes      map[string]*corev1.PersistentVolumeClaim // by name
	secrets      map[string]*corev1.Secret                // by name
	configMaps   map[string]*corev1.ConfigMap             // by name; also those of others
	pooler       *appsv1.Deployment
}

func observe(ctx context.Context, reader client.Reader, cluster *v1beta1.PostgresCluster) (facts, error) {
	var (
		statefulSets appsv1.StatefulSetList
		deployments  appsv1.DeploymentList
		pods         corev1.PodList
		volumes      corev1.PersistentVolumeClaimList
		secrets      corev1.SecretList
		configMaps   corev1.ConfigMapList
	)
	for _, list := range []client.ObjectList{&statefulSets, &deployments, &pods, &volumes, &secrets, &configMaps} {
		err := reader.List(ctx, list, client.InNamespace(cluster.Namespace), client.MatchingFields{kube.ClusterIndex: cluster.Name})
		if err != nil {
			return facts{}, fmt.Errorf("listing %T: %w", list, err)
		}
	}
	claimant := claimantOf(cluster)
	seen := facts{
		statefulSets: wantedOrOurs(belonging(statefulSets.Items, claimant), cluster),
		volumes:      belonging(volumes.Items, claimant),
		secrets:      belonging(secrets.Items, claimant),
		configMaps:   map[string]*corev1.ConfigMap{},
		pods:         map[string]*corev1.Pod{},
	}
	for i := range configMaps.Items {
		seen.configMaps[configMaps.Items[i].Name] = &configMaps.Items[i]
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.Labels[desired.InstanceLabel] != "" {
			seen.pods[pod.Labels[desired.InstanceLabel]] = pod
		}
	}
	seen.pooler = belonging(deployments.Items, claimant)[desired.PoolerName(cluster.Name)]
	return seen, nil
}

// belonging indexes by name those objects that the cluster controls, or will take back: what they hold counts already, such as a
// user's password.
func belonging[T any, P interface {
	*T
	metav1.Object
}](items []T, claimant kube.Claimant) map[string]*T {
	byName := map[string]*T{}
	for i := range items {
		if object := P(&items[i]); belongs(object, claimant) {
			byName[object.GetName()] = &items[i]
		}
	}
	return byName
}

// wantedOrOurs leaves out orphans of instances that the spec does not want: to count them would be to remove them, with their data.
func wantedOrOurs(statefulSets map[string]*appsv1.StatefulSet, cluster *v1beta1.PostgresCluster) map[string]*appsv1.StatefulSet {
	wanted := desired.Instances(cluster)
	maps.DeleteFunc(statefulSets, func(name string, s *appsv1.StatefulSet) bool {
		return !isWanted(wanted, name) && !metav1.IsControlledBy(s, cluster)
	})
	return statefulSets
}

// belongs counts an orphan that is being deleted too: until it is gone it holds its name. An object of an earlier cluster counts once
// it was taken back.
func belongs(object metav1.Object, claimant kube.Claimant) bool {
	ownership := kube.Judge(object, claimant).Ownership
	return ownership == kube.Ours || ownership == kube.Adoptable
}

func claimantOf(cluster *v1beta1.PostgresCluster) kube.Claimant {
	return kube.Claimant{Owner: desired.OwnerReference(cluster), Labels: desired.ClusterLabels(cluster.Name)}
}

// hasMaterial tells whether the TLS controller has published a party's material.
func (f facts) hasMaterial(party string) bool {
	return f.secrets[desired.MaterialSecret(party)] != nil
}

func podReady(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
