package desired

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

// PoolerDeployment of PgBouncer. The cluster must have a pooler.
func PoolerDeployment(cluster *v1beta1.PostgresCluster, settings Settings) (*appsv1.Deployment, error) {
	pooler := Pooler(cluster)
	hash, err := poolerConfigHash(cluster)
	if err != nil {
		return nil, err
	}
	labels := ComponentLabels(cluster.Name, PoolerComponent)
	template := podMeta(cluster, labels, pooler.Metadata)
	template.Annotations = with(template.Annotations, ConfigHashAnnotation, hash)
	return &appsv1.Deployment{
		ObjectMeta: Meta(cluster, PoolerName(cluster.Name), labels, pooler.Metadata),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(ptr.Deref(pooler.Replicas, 1)),
			Selector: labelSelector(labels),
			// Never fewer poolers than asked for.
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxUnavailable: ptr.To(intstr.FromInt32(0)),
					MaxSurge:       ptr.To(intstr.FromInt32(1)),
				},
			},
			RevisionHistoryLimit: ptr.To[int32](2),
			Template:             corev1.PodTemplateSpec{ObjectMeta: template, Spec: poolerPod(cluster, pooler, settings)},
		},
	}, nil
}

func poolerPod(cluster *v1beta1.PostgresCluster, pooler *v1beta1.PGBouncerSpec, settings Settings) corev1.PodSpec {
	affinity := pooler.Affinity
	if affinity == nil {
		affinity = apartFrom(ComponentLabels(cluster.Name, PoolerComponent))
	}
	args := []string{"--kind=" + party.Pooler.Name, fmt.Sprintf("--process-port=%d", PoolerPort(pooler))}
	return corev1.PodSpec{
		AutomountServiceAccountToken: ptr.To(false),
		EnableServiceLinks:           ptr.To(false),
		SecurityContext:              podSecurity(),
		ImagePullSecrets:             cluster.Spec.ImagePullSecrets,
		Affinity:                     affinity,
		Tolerations:                  pooler.Tolerations,
		// After SIGTERM PgBouncer serves the clients that it has until they leave, or until this is over. A namespace that terminates
		// waits for half of it and more, see stopSeconds.
		TerminationGracePeriodSeconds: ptr.To[int64](leastStopSeconds),
		InitContainers:                []corev1.Container{agentContainer(cluster, settings, args)},
		Containers:                    []corev1.Container{poolerContainer(cluster, pooler, settings)},
		Volumes: append(agentVolumes(MaterialSecret(PoolerName(cluster.Name))),
			configMapVolume(configVolume, PoolerConfigName(cluster.Name))),
	}
}

func poolerContainer(cluster *v1beta1.PostgresCluster, pooler *v1beta1.PGBouncerSpec, settings Settings) corev1.Container {
	ready := httpsProbe(agentapi.PathReady, "", 2, 5, 3)
	ready.HTTPGet.Port = portNumber(agentapi.AgentPort)
	return corev1.Container{
		Name:            PoolerContainer,
		Image:           settings.poolerImage(pooler),
		ImagePullPolicy: pullPolicy(cluster),
		Ports:           []corev1.ContainerPort{containerPort(poolerPort, PoolerPort(pooler))},
		Resources:       pooler.Resources,
		SecurityContext: containerSecurity(),
		Lifecycle:       sleepBeforeStop(5),
		ReadinessProbe:  ready,
		LivenessProbe: &corev1.Probe{
			ProbeHandler:        corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString(poolerPort)}},
			InitialDelaySeconds: 10, PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 6,
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: activeVolume, MountPath: agentapi.ActiveDir, ReadOnly: true},
			{Name: runVolume, MountPath: agentapi.SocketDir},
			{Name: logVolume, MountPath: agentapi.LogDir},
			{Name: configVolume, MountPath: "/etc/pgbouncer", ReadOnly: true},
			{Name: tmpVolume, MountPath: "/tmp"},
		},
	}
}

func portNumber(port int32) intstr.IntOrString { return intstr.FromInt32(port) }
