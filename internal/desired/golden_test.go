package desired

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"pgtls.dev/pgtls/api/v1beta1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// all renders every object of a cluster, in the order in which the controller applies them.
func all(t *testing.T, cluster *v1beta1.PostgresCluster) []client.Object {
	t.Helper()
	var pods []string
	for _, instance := range Instances(cluster) {
		pods = append(pods, PodName(instance.Name))
	}
	rendered := []client.Object{
		ServiceAccount(cluster), Role(cluster, pods), RoleBinding(cluster), must(InstanceConfig(cluster))(t),
	}
	for _, service := range Services(cluster) {
		rendered = append(rendered, service)
	}
	for _, user := range Users(cluster) {
		rendered = append(rendered, UserSecretFor(cluster, user, Credentials{Password: "s3cret/?", Verifier: "SCRAM-SHA-256$..."}, "BUNDLE\n"))
	}
	for _, instance := range Instances(cluster) {
		rendered = append(rendered, DataVolume(cluster, instance), StatefulSet(cluster, instance, configHash(t, cluster), settings()))
	}
	if Pooler(cluster) != nil {
		rendered = append(rendered, must(PoolerConfig(cluster))(t), must(PoolerDeployment(cluster, settings()))(t))
	}
	for _, budget := range DisruptionBudgets(cluster) {
		rendered = append(rendered, budget)
	}
	for _, policy := range NetworkPolicies(cluster, settings()) {
		rendered = append(rendered, policy)
	}
	return rendered
}

func TestObjectsOfAClusterAreThoseOfTheGoldenFile(t *testing.T) {
	for name, cluster := range map[string]*v1beta1.PostgresCluster{
		"minimal": hippo(),
		"full":    hippo(everything),
		"old":     hippo(func(c *v1beta1.PostgresCluster) { c.Spec.PostgresVersion = 15 }),
	} {
		t.Run(name, func(t *testing.T) {
			got := inYAML(t, all(t, cluster))
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path) //nolint:gosec // a golden file
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("rendered otherwise than %s; look, then run with -update (-want +got):\n%s", path, diff)
			}
		})
	}
}

func TestRenderingIsRepeatable(t *testing.T) {
	first := inYAML(t, all(t, hippo(everything)))
	for range 20 {
		if again := inYAML(t, all(t, hippo(everything))); !bytes.Equal(first, again) {
			t.Fatal("the same spec was rendered differently the second time")
		}
	}
}

// mask leaves out what other packages render and test, and what hangs on it.
func mask(object client.Object) {
	switch o := object.(type) {
	case *corev1.ConfigMap:
		for key := range o.Data {
			o.Data[key] = "(rendered)"
		}
	case *appsv1.StatefulSet:
		o.Spec.Template.Annotations[ConfigHashAnnotation] = "(hash)"
	case *appsv1.Deployment:
		o.Spec.Template.Annotations[ConfigHashAnnotation] = "(hash)"
	}
}

func inYAML(t *testing.T, rendered []client.Object) []byte {
	t.Helper()
	var text bytes.Buffer
	for _, object := range rendered {
		mask(object)
		gvk := must(apiutil.GVKForObject(object, clientgoscheme.Scheme))(t)
		content := must(runtime.DefaultUnstructuredConverter.ToUnstructured(object))(t)
		delete(content, "status")
		content["apiVersion"], content["kind"] = gvk.GroupVersion().String(), gvk.Kind
		text.WriteString("---\n")
		text.Write(must(yaml.Marshal(content))(t))
	}
	return text.Bytes()
}

// configHash is the hash of the instances' configuration, by either way to it.
func configHash(t *testing.T, cluster *v1beta1.PostgresCluster) string {
	t.Helper()
	hash, err := InstanceConfigHash(cluster)
	if err != nil {
		t.Fatal(err)
	}
	config, err := InstanceConfig(cluster)
	if err != nil {
		t.Fatal(err)
	}
	if cut := HashOfInstanceConfig(cluster, config); cut != hash {
		t.Errorf("the hash of the rendered configuration is %s, and that of the configuration without its bootstrap part %s", cut, hash)
	}
	return hash
}
