package desired

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

// StatefulSet of an instance. Its pod is replaced only when the operator deletes it. configHash is InstanceConfigHash, which is the same for every
// instance of a cluster.
func StatefulSet(cluster *v1beta1.PostgresCluster, instance Instance, configHash string, settings Settings) *appsv1.StatefulSet {
	labels := instanceLabels(cluster.Name, instance)
	podLabels := instanceLabels(cluster.Name, instance)
	podLabels[PatroniLabel] = PatroniScope(cluster.Name)
	template := podMeta(cluster, podLabels, instance.Set.Metadata)
	template.Annotations = with(template.Annotations, ConfigHashAnnotation, configHash)
	return &appsv1.StatefulSet{
		ObjectMeta: Meta(cluster, instance.Name, labels, instance.Set.Metadata),
		Spec: appsv1.StatefulSetSpec{
			Replicas:             ptr.To[int32](1),
			ServiceName:          PodService(cluster.Name),
			Selector:             labelSelector(map[string]string{ClusterLabel: cluster.Name, InstanceLabel: instance.Name}),
			UpdateStrategy:       appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			PodManagementPolicy:  appsv1.ParallelPodManagement,
			RevisionHistoryLimit: ptr.To[int32](2),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: template,
				Spec:       instancePod(cluster, instance, settings),
			},
		},
	}
}

func instancePod(cluster *v1beta1.PostgresCluster, instance Instance, settings Settings) corev1.PodSpec {
	affinity := instance.Set.Affinity
	if affinity == nil {
		affinity = apartFrom(ComponentLabels(cluster.Name, InstanceComponent))
	}
	return corev1.PodSpec{
		ServiceAccountName:            ServiceAccountName(cluster.Name),
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		SecurityContext:               podSecurity(),
		ImagePullSecrets:              cluster.Spec.ImagePullSecrets,
		Affinity:                      affinity,
		Tolerations:                   instance.Set.Tolerations,
		TerminationGracePeriodSeconds: ptr.To(stopSeconds(instance.Set.Resources)),
		InitContainers: []corev1.Container{
			agentContainer(cluster, settings, []string{"--kind=" + party.Instance.Name}, containerPort(patroniPort, agentapi.PatroniPort)),
		},
		Containers: []corev1.Container{databaseContainer(cluster, instance, settings)},
		Volumes: append(agentVolumes(MaterialSecret(instance.Name)),
			corev1.Volume{Name: dataVolume, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: VolumeName(instance.Name)},
			}},
			configMapVolume(configVolume, ConfigName(cluster.Name)),
			// PostgreSQL's parallel queries need more than the 64 MiB that a runtime gives.
			memoryVolume(sharedVolume, "1Gi"),
			serviceAccountToken(),
		),
	}
}

const (
	leastStopSeconds = 20
	mostStopSeconds  = 600
	stopRate         = 256 << 20 // bytes of memory for which a second more is given
)

// stopSeconds is how long an instance has to stop. It writes a checkpoint of what it has changed in memory and hands its last WAL to the
// replicas; one that takes longer is killed, and recovers from its WAL. It is as short as that allows, because Kubernetes looks at a
// namespace that terminates again only after half of the longest time of its pods (ADR 0021). An instance without memory limit and
// request counts as small.
func stopSeconds(resources corev1.ResourceRequirements) int64 {
	memory := resources.Limits.Memory()
	if memory.IsZero() {
		memory = resources.Requests.Memory()
	}
	return min(leastStopSeconds+memory.Value()/stopRate, mostStopSeconds)
}

func databaseContainer(cluster *v1beta1.PostgresCluster, instance Instance, settings Settings) corev1.Container {
	host := "$(PATRONI_NAME)." + ServiceHost(PodService(cluster.Name), cluster.Namespace)
	return corev1.Container{
		Name:            DatabaseContainer,
		Image:           settings.postgresImage(cluster),
		ImagePullPolicy: pullPolicy(cluster),
		Env: []corev1.EnvVar{
			fieldEnv("PATRONI_NAME", "metadata.name"),
			fieldEnv("PATRONI_KUBERNETES_NAMESPACE", "metadata.namespace"),
			fieldEnv("PATRONI_KUBERNETES_POD_IP", "status.podIP"),
			{Name: "PATRONI_POSTGRESQL_CONNECT_ADDRESS", Value: fmt.Sprintf("%s:%d", host, agentapi.PostgresPort)},
			{Name: "PATRONI_RESTAPI_CONNECT_ADDRESS", Value: fmt.Sprintf("%s:%d", host, agentapi.PatroniPort)},
		},
		Ports:           []corev1.ContainerPort{containerPort(postgresPort, agentapi.PostgresPort)},
		Resources:       instance.Set.Resources,
		SecurityContext: containerSecurity(),
		Lifecycle:       sleepBeforeStop(2),
		// Patroni answers as soon as it runs, also while it restores a replica.
		StartupProbe:   patroniProbe("/liveness", 2, 60),
		LivenessProbe:  patroniProbe("/liveness", 10, 6),
		ReadinessProbe: patroniProbe("/readiness", 3, 3),
		VolumeMounts: []corev1.VolumeMount{
			{Name: activeVolume, MountPath: agentapi.ActiveDir, ReadOnly: true},
			{Name: runVolume, MountPath: agentapi.SocketDir},
			{Name: logVolume, MountPath: agentapi.LogDir},
			{Name: dataVolume, MountPath: "/pgdata"},
			{Name: configVolume, MountPath: "/etc/patroni", ReadOnly: true},
			{Name: tmpVolume, MountPath: "/tmp"},
			{Name: sharedVolume, MountPath: "/dev/shm"},
			{Name: tokenVolume, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true},
		},
	}
}

// patroniProbe asks the agent, which asks Patroni; the port is the agent's, so it goes by number.
func patroniProbe(path string, period, failures int32) *corev1.Probe {
	probe := httpsProbe(path, "", period, 5, failures)
	probe.HTTPGet.Port = portNumber(agentapi.PatroniPort)
	return probe
}

// serviceAccountToken is mounted into the database container alone: the agent has no business with the API server.
func serviceAccountToken() corev1.Volume {
	return corev1.Volume{Name: tokenVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To[int32](0o440),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](3600)}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{
				Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: fieldRef("metadata.namespace")}},
			}},
		},
	}}}
}

func labelSelector(labels map[string]string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels}
}

func with(annotations map[string]string, key, value string) map[string]string {
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	return annotations
}
