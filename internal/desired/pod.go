package desired

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

// postgresID is the uid and gid of PostgreSQL, PgBouncer and the agent. One uid, so that the agent may
// speak to either over the Unix socket by peer authentication; 26 is that of Crunchy PGO.
const postgresID = 26

// Names of volumes.
const (
	materialVolume = "material"
	podVolume      = "pod"
	activeVolume   = "active"
	runVolume      = "run"
	logVolume      = "log"
	dataVolume     = "pgdata"
	configVolume   = "config"
	tmpVolume      = "tmp"
	sharedVolume   = "shm"
	tokenVolume    = "token"
)

// Names of containers and ports.
const (
	AgentContainer    = "agent"
	DatabaseContainer = party.DatabaseContainer
	PoolerContainer   = party.PoolerContainer

	postgresPort = "postgres"
	poolerPort   = "pgbouncer"
	agentPort    = "agent"
	patroniPort  = "patroni"
)

func podSecurity() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot:        ptr.To(true),
		RunAsUser:           ptr.To[int64](postgresID),
		RunAsGroup:          ptr.To[int64](postgresID),
		FSGroup:             ptr.To[int64](postgresID),
		FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
		SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func containerSecurity() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		Privileged:               ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func pullPolicy(cluster *v1beta1.PostgresCluster) corev1.PullPolicy {
	if cluster.Spec.ImagePullPolicy == "" {
		return corev1.PullIfNotPresent
	}
	return cluster.Spec.ImagePullPolicy
}

// agentContainer is a native sidecar: it starts first, and the next container starts only when it says that
// material is installed.
func agentContainer(cluster *v1beta1.PostgresCluster, settings Settings, args []string, ports ...corev1.ContainerPort) corev1.Container {
	return corev1.Container{
		Name:            AgentContainer,
		Image:           settings.Images.Agent,
		ImagePullPolicy: pullPolicy(cluster),
		Args:            append(args, "--min-tls="+MinimumTLSVersion(cluster)),
		RestartPolicy:   ptr.To(corev1.ContainerRestartPolicyAlways),
		Env: []corev1.EnvVar{
			fieldEnv("POD_NAME", "metadata.name"),
			fieldEnv("POD_NAMESPACE", "metadata.namespace"),
		},
		Ports:           append([]corev1.ContainerPort{containerPort(agentPort, agentapi.AgentPort)}, ports...),
		StartupProbe:    httpsProbe(agentapi.PathHealth, agentPort, 1, 5, 300),
		LivenessProbe:   httpsProbe(agentapi.PathHealth, agentPort, 10, 5, 6),
		SecurityContext: containerSecurity(),
		Resources: corev1.ResourceRequirements{
			Requests: resources("10m", "16Mi"),
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: materialVolume, MountPath: agentapi.MaterialDir, ReadOnly: true},
			{Name: podVolume, MountPath: agentapi.PodInfoDir, ReadOnly: true},
			{Name: activeVolume, MountPath: agentapi.ActiveDir},
			{Name: runVolume, MountPath: agentapi.SocketDir},
			{Name: logVolume, MountPath: agentapi.LogDir},
		},
	}
}

// agentVolumes are the volumes that every pod with an agent has. Nothing in them changes when a certificate is renewed.
func agentVolumes(materialSecret string) []corev1.Volume {
	return []corev1.Volume{
		{Name: materialVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: materialSecret, DefaultMode: ptr.To[int32](0o440),
		}}},
		{Name: podVolume, VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			DefaultMode: ptr.To[int32](0o444),
			Items: []corev1.DownwardAPIVolumeFile{{
				Path:     "activate",
				FieldRef: fieldRef("metadata.annotations['" + ActivateAnnotation + "']"),
			}},
		}}},
		memoryVolume(activeVolume, "4Mi"),
		emptyVolume(runVolume, "16Mi"),
		// In memory, because then a full volume costs lines of the log: on disk it would cost the pod.
		memoryVolume(logVolume, "8Mi"),
		emptyVolume(tmpVolume, "256Mi"),
	}
}

func memoryVolume(name, limit string) corev1.Volume {
	volume := emptyVolume(name, limit)
	volume.EmptyDir.Medium = corev1.StorageMediumMemory
	return volume
}

func emptyVolume(name, limit string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse(limit))},
	}}
}

func configMapVolume(name, configMap string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: configMap}, DefaultMode: ptr.To[int32](0o444),
	}}}
}

func resources(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func fieldRef(path string) *corev1.ObjectFieldSelector {
	return &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}
}

func fieldEnv(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: fieldRef(path)}}
}

func containerPort(name string, port int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: port, Protocol: corev1.ProtocolTCP}
}

func httpsProbe(path, port string, period, timeout, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromString(port), Scheme: corev1.URISchemeHTTPS,
		}},
		PeriodSeconds: period, TimeoutSeconds: timeout, FailureThreshold: failures,
	}
}

// sleepBeforeStop keeps a process serving while kube-proxy takes its pod out of the Services.
func sleepBeforeStop(seconds int64) *corev1.Lifecycle {
	return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}}
}

// apartFrom is the default affinity: pods of a component prefer different nodes.
func apartFrom(selector map[string]string) *corev1.Affinity {
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight:          100,
			PodAffinityTerm: corev1.PodAffinityTerm{LabelSelector: labelSelector(selector), TopologyKey: corev1.LabelHostname},
		}},
	}}
}
