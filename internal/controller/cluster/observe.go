package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// observed is what a round goes by: the spec, the time and the objects. No step changes it.
type observed struct {
	cluster  *v1beta1.PostgresCluster
	settings desired.Settings
	now      time.Time
	facts
}

// facts are the objects of the cluster as the cache has them. Only those that the cluster controls or takes back count, but for
// pods and Patroni's ConfigMaps, which are made by others.
type facts struct {
	statefulSets map[string]*appsv1.StatefulSet           // by instance
	pods         map[string]*corev1.Pod                   // by instance
	volumes      map[string]*corev1.PersistentVolumeClaim // by name
	secrets      map[string]*corev1.Secret                // by name
	configMaps   map[string]*corev1.ConfigMap             // by name; also those of others
	pooler       *appsv1.Deployment
	orphans      []string // "Kind name" of what the spec does not want and no controller owns
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
	live := belonging(statefulSets.Items, claimant)
	seen := facts{
		statefulSets: wantedOrOurs(maps.Clone(live), cluster),
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
	seen.orphans = orphansOf(cluster, live, seen)
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

func (f facts) instances() decide.Objects {
	return decide.Objects{StatefulSets: f.statefulSets, Pods: f.pods}
}

// members joins the instances with what Patroni says of them; nil states are unknown ones.
func (o observed) members(states map[string]decide.State) []decide.Member {
	return decide.Members(desired.Instances(o.cluster), o.instances(), states)
}

func (o observed) key() client.ObjectKey { return client.ObjectKeyFromObject(o.cluster) }

func (o observed) primaryReady() bool {
	_, ready := decide.First(o.members(nil), func(m decide.Member) bool { return m.Primary && m.Ready })
	return ready
}

// restored reports whether data of a wanted instance is older than the PostgresCluster: it was orphaned, or comes from a backup. A claim that
// the operator made for this cluster is not older, though it may be of the same second.
func (o observed) restored() bool {
	for _, instance := range desired.Instances(o.cluster) {
		volume := o.volumes[desired.VolumeName(instance.Name)]
		if volume != nil && volume.DeletionTimestamp == nil && volume.CreationTimestamp.Before(&o.cluster.CreationTimestamp) {
			return true
		}
	}
	return false
}

// unownedPatroniObjects are the ConfigMaps that Patroni made, or an earlier cluster's Patroni.
func (o observed) unownedPatroniObjects() []*corev1.ConfigMap {
	var found []*corev1.ConfigMap
	for _, name := range desired.PatroniConfigMaps(o.cluster.Name) {
		if live := o.configMaps[name]; live != nil && live.DeletionTimestamp == nil && !metav1.IsControlledBy(live, o.cluster) {
			found = append(found, live)
		}
	}
	return found
}

// askable are the running pods, ready ones first.
func (o observed) askable() []string {
	var ready, running []string
	for _, m := range o.members(nil) {
		pod := o.pods[m.Instance]
		switch {
		case pod == nil || m.Terminating:
		case m.Ready:
			ready = append(ready, pod.Name)
		case databaseStarted(pod):
			running = append(running, pod.Name)
		}
	}
	return append(ready, running...)
}

func databaseStarted(pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == desired.DatabaseContainer {
			return status.Started != nil && *status.Started
		}
	}
	return false
}

// operatorTLS presents the operator's client leaf and trusts the cluster's server authority. The server's
// name is what the caller dials.
func (o observed) operatorTLS() (*tls.Config, error) {
	name := desired.OperatorMaterial(o.cluster.Name)
	secret := o.secrets[name]
	if secret == nil {
		return nil, fmt.Errorf("Secret %s is not there yet", name) //nolint:staticcheck // a kind's name
	}
	pair, err := tls.X509KeyPair(secret.Data[agentapi.ClientCertificate], secret.Data[agentapi.ClientKey])
	if err != nil {
		return nil, fmt.Errorf("reading the pair in Secret %s: %w", name, err)
	}
	anchors := x509.NewCertPool()
	if !anchors.AppendCertsFromPEM(secret.Data[agentapi.ServerBundle]) {
		return nil, fmt.Errorf("reading the bundle of server authorities: Secret %s has none", name)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: anchors, Certificates: []tls.Certificate{pair}}, nil
}

// isWanted reports whether the spec wants an instance of this name.
func isWanted(instances []desired.Instance, name string) bool {
	return slices.ContainsFunc(instances, func(i desired.Instance) bool { return i.Name == name })
}
