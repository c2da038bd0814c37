package desired

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"pgtls.dev/pgtls/api/v1beta1"
)

func podsOf(t *testing.T, cluster *v1beta1.PostgresCluster) map[string]corev1.PodTemplateSpec {
	t.Helper()
	return map[string]corev1.PodTemplateSpec{
		"instance": StatefulSet(cluster, Instances(cluster)[0], must(InstanceConfigHash(cluster))(t), settings()).Spec.Template,
		"pooler":   must(PoolerDeployment(cluster, settings()))(t).Spec.Template,
	}
}

func containers(pod corev1.PodSpec) []corev1.Container {
	return slices.Concat(pod.InitContainers, pod.Containers)
}

// The API server of a namespace with the restricted standard refuses a pod that breaks one of these.
func TestPodsKeepTheRestrictedStandard(t *testing.T) {
	for kind, template := range podsOf(t, hippo(everything)) {
		pod := template.Spec
		if s := pod.SecurityContext; !*s.RunAsNonRoot || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *s.RunAsUser != 26 || *s.FSGroup != 26 {
			t.Errorf("%s pod: %+v", kind, s)
		}
		for _, container := range containers(pod) {
			s := container.SecurityContext
			if *s.AllowPrivilegeEscalation || *s.Privileged || !*s.ReadOnlyRootFilesystem {
				t.Errorf("%s/%s: %+v", kind, container.Name, s)
			}
			if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
				t.Errorf("%s/%s keeps capabilities: %+v", kind, container.Name, s.Capabilities)
			}
		}
		for _, volume := range pod.Volumes {
			if volume.HostPath != nil {
				t.Errorf("%s mounts a path of the node: %s", kind, volume.Name)
			}
		}
	}
}

func TestOnlyTheAgentSeesMaterialAndOnlyTheDatabaseTheToken(t *testing.T) {
	only := map[string]string{materialVolume: AgentContainer, podVolume: AgentContainer, tokenVolume: DatabaseContainer}
	for kind, template := range podsOf(t, hippo(everything)) {
		if *template.Spec.AutomountServiceAccountToken {
			t.Errorf("%s: every container gets a token", kind)
		}
		for _, container := range containers(template.Spec) {
			for _, mount := range container.VolumeMounts {
				if owner := only[mount.Name]; owner != "" && owner != container.Name {
					t.Errorf("%s: %s sees volume %s", kind, container.Name, mount.Name)
				}
				if mount.SubPath != "" || mount.SubPathExpr != "" {
					t.Errorf("%s: %s mounts %s by subPath, which never updates", kind, container.Name, mount.Name)
				}
			}
		}
	}
}

func TestTheAgentStartsFirstAndStays(t *testing.T) {
	for kind, template := range podsOf(t, hippo(everything)) {
		if len(template.Spec.InitContainers) != 1 {
			t.Fatalf("%s has %d init containers", kind, len(template.Spec.InitContainers))
		}
		agent := template.Spec.InitContainers[0]
		if agent.RestartPolicy == nil || *agent.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			t.Errorf("%s: the agent is no sidecar", kind)
		}
		if agent.StartupProbe == nil || agent.StartupProbe.HTTPGet.Scheme != corev1.URISchemeHTTPS {
			t.Errorf("%s: nothing waits for the agent's material", kind)
		}
	}
}

// Server-side apply refuses a list with two elements of one key.
func TestListsHaveUniqueKeys(t *testing.T) {
	for kind, template := range podsOf(t, hippo(everything)) {
		var volumes []string
		for _, volume := range template.Spec.Volumes {
			volumes = append(volumes, volume.Name)
		}
		unique(t, kind+" volumes", volumes)
		for _, container := range containers(template.Spec) {
			var names, paths []string
			for _, env := range container.Env {
				names = append(names, env.Name)
			}
			for _, mount := range container.VolumeMounts {
				paths = append(paths, mount.MountPath)
				if !slices.Contains(volumes, mount.Name) {
					t.Errorf("%s/%s mounts %s, which the pod has not", kind, container.Name, mount.Name)
				}
			}
			unique(t, kind+" env", names)
			unique(t, kind+" mounts", paths)
		}
	}
}

func unique(t *testing.T, what string, keys []string) {
	t.Helper()
	slices.Sort(keys)
	if len(slices.Compact(slices.Clone(keys))) != len(keys) {
		t.Errorf("%s: a key stands twice in %v", what, keys)
	}
}

func TestWhatMakesNewPods(t *testing.T) {
	base := podsOf(t, hippo(withPooler))
	for _, c := range []struct {
		name             string
		change           func(*v1beta1.PostgresCluster)
		instance, pooler bool
	}{
		{"dynamic configuration", withDynamic(`{"postgresql":{"parameters":{"work_mem":"8MB"}}}`), false, false},
		{"lease", func(c *v1beta1.PostgresCluster) {
			c.Spec.Patroni = &v1beta1.PatroniSpec{LeaderLeaseDurationSeconds: new(int32)}
		}, false, false},
		{"another user", func(c *v1beta1.PostgresCluster) { c.Spec.Users = []v1beta1.UserSpec{{Name: "guest"}} }, false, false},
		{"more instances", func(c *v1beta1.PostgresCluster) { *c.Spec.Instances[0].Replicas = 5 }, false, false},
		{"certificates' life and names", func(c *v1beta1.PostgresCluster) {
			life := v1beta1.CertificateDuration("24h")
			c.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{Instances: &v1beta1.ServerCertificateSpec{
				CertificateSpec: v1beta1.CertificateSpec{Duration: &life}, DNSNames: []string{"db.example.org"}}}}
		}, false, false},
		{"lowest TLS version", func(c *v1beta1.PostgresCluster) { c.Spec.TLS = &v1beta1.TLSSpec{MinimumVersion: "1.2"} }, true, true},
		{"image", func(c *v1beta1.PostgresCluster) { c.Spec.Image = "other" }, true, false},
		{"resources", func(c *v1beta1.PostgresCluster) { c.Spec.Instances[0].Resources.Limits = resources("1", "1Gi") }, true, false},
		{"pooler's settings", func(c *v1beta1.PostgresCluster) {
			c.Spec.Proxy.PGBouncer.Config.Global = map[string]string{"pool_mode": "statement"}
		}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			pods := podsOf(t, hippo(withPooler, c.change))
			if changed := cmp.Diff(base["instance"], pods["instance"]); (changed != "") != c.instance {
				t.Errorf("new instance pods: want %v, got %q", c.instance, changed)
			}
			if changed := cmp.Diff(base["pooler"], pods["pooler"]); (changed != "") != c.pooler {
				t.Errorf("new pooler pods: want %v, got %q", c.pooler, changed)
			}
		})
	}
}

func TestUsersMetadataNeverReplacesTheOperatorsLabels(t *testing.T) {
	cluster := hippo(func(c *v1beta1.PostgresCluster) {
		c.Spec.Metadata = &v1beta1.Metadata{Labels: map[string]string{ClusterLabel: "other", "mine": "yes"}}
	})
	got := StatefulSet(cluster, Instances(cluster)[0], must(InstanceConfigHash(cluster))(t), settings())
	if got.Labels[ClusterLabel] != "hippo" || got.Spec.Template.Labels[ClusterLabel] != "hippo" || got.Labels["mine"] != "yes" {
		t.Errorf("labels %v, of pods %v", got.Labels, got.Spec.Template.Labels)
	}
	for key, value := range got.Spec.Selector.MatchLabels {
		if got.Spec.Template.Labels[key] != value {
			t.Errorf("the selector's %s=%s is not on the pods", key, value)
		}
	}
}

// The CRD lets a cluster's name have 36 characters, a set's 12, a user's 32.
func TestTheLongestNamesFit(t *testing.T) {
	cluster := strings.Repeat("c", 36)
	instance := InstanceName(cluster, strings.Repeat("s", 12), 49)
	for what, name := range map[string]string{
		"pod, which is a label of a DNS name and a common name": PodName(instance),
		"label of the StatefulSet's revision":                   instance + "-0123456789",
		"Service":                                               PoolerName(cluster),
		"scope":                                                 PatroniScope(cluster),
	} {
		if len(name) > 63 {
			t.Errorf("%s %q has %d characters", what, name, len(name))
		}
	}
	if name := UserSecret(cluster, strings.Repeat("u", 32)); len(name) > 253 {
		t.Errorf("Secret %q has %d characters", name, len(name))
	}
}

func TestAnInstanceHasTimeToStopByItsMemory(t *testing.T) {
	for _, c := range []struct {
		limit, request string
		want           int64
	}{
		{"", "", 20}, {"1Gi", "", 24}, {"", "1Gi", 24}, {"4Gi", "1Gi", 36}, {"64Gi", "", 276}, {"2Ti", "", 600},
	} {
		requirements := corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}}
		for list, text := range map[*corev1.ResourceList]string{&requirements.Limits: c.limit, &requirements.Requests: c.request} {
			if text != "" {
				(*list)[corev1.ResourceMemory] = resource.MustParse(text)
			}
		}
		if got := stopSeconds(requirements); got != c.want {
			t.Errorf("limit %q, request %q: %d s, want %d s", c.limit, c.request, got, c.want)
		}
	}
}
