package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
)

// RootVariable names the environment variable with the root of the work tree, where the manifests are.
const RootVariable = "PGTLS_ROOT"

// The operator's Deployment.
const (
	OperatorNamespace = "pgtls-system"
	OperatorName      = "pgtls-operator"
)

// PresentVariable names the environment variable that, when set, has the operator that is installed
// used as it is, and neither replaced nor removed: for an engineer at work on the operator.
const PresentVariable = "USE_PRESENT_OPERATOR"

// manifestFolders in the order of applying.
var manifestFolders = []string{"config/crd", "config/rbac", "config/manager"}

// installedByLabel marks an operator that may be replaced and removed.
const installedByLabel = "pgtls.dev/installed-by"

// fieldOwner of what the harness applies.
const fieldOwner = client.FieldOwner("pgtls-harness")

// InstallOperator applies the manifests of the work tree with these images and waits until the operator runs.
// It replaces what an earlier run has left, but not an operator that the user has installed.
func (k *Kube) InstallOperator(ctx context.Context, images Images) error {
	if os.Getenv(PresentVariable) != "" {
		return k.AwaitOperator(ctx)
	}
	present, err := k.operator(ctx)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("looking for an operator: %w", err)
	case err == nil && present.Labels[installedByLabel] != string(fieldOwner):
		return fmt.Errorf("an operator is installed in %s already, and not by this program: use another cluster", OperatorNamespace)
	}
	for _, folder := range manifestFolders {
		objects, err := readManifests(filepath.Join(os.Getenv(RootVariable), folder), images)
		if err != nil {
			return err
		}
		for _, object := range objects {
			if err := k.apply(ctx, object); err != nil {
				return err
			}
		}
	}
	if err := k.awaitCRD(ctx); err != nil {
		return err
	}
	return k.AwaitOperator(ctx)
}

func (k *Kube) apply(ctx context.Context, object *unstructured.Unstructured) error {
	err := k.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), fieldOwner, client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

func (k *Kube) awaitCRD(ctx context.Context) error {
	return Await(ctx, "the CRD to be served", 30*time.Second, func(ctx context.Context) string {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := k.Get(ctx, client.ObjectKey{Name: "postgresclusters.pgtls.dev"}, &crd); err != nil {
			return err.Error()
		}
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return ""
			}
		}
		return "it is not established"
	})
}

// AwaitOperator waits until the present Deployment of the operator has rolled out.
func (k *Kube) AwaitOperator(ctx context.Context) error {
	return Await(ctx, "the operator to run", 2*time.Minute, func(ctx context.Context) string {
		deployment, err := k.operator(ctx)
		if err != nil {
			return err.Error()
		}
		status := deployment.Status
		wanted := *deployment.Spec.Replicas
		switch {
		case status.ObservedGeneration != deployment.Generation:
			return "its Deployment is not yet seen"
		case status.Replicas != wanted, status.UpdatedReplicas != wanted, status.AvailableReplicas != wanted:
			return fmt.Sprintf("%d pods, %d updated, %d available of %d", status.Replicas, status.UpdatedReplicas, status.AvailableReplicas, wanted)
		}
		return ""
	})
}

func (k *Kube) operator(ctx context.Context) (*appsv1.Deployment, error) {
	var deployment appsv1.Deployment
	err := k.Get(ctx, client.ObjectKey{Namespace: OperatorNamespace, Name: OperatorName}, &deployment)
	return &deployment, err
}

// ScaleOperator waits until that many operators run, and no other.
func (k *Kube) ScaleOperator(ctx context.Context, replicas int) error {
	deployment, err := k.operator(ctx)
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if err := k.Patch(ctx, deployment, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("scaling the operator: %w", err)
	}
	return Await(ctx, fmt.Sprintf("%d operators", replicas), 2*time.Minute, func(ctx context.Context) string {
		pods, err := k.operatorPods(ctx)
		if err != nil {
			return err.Error()
		}
		if len(pods) != replicas {
			return fmt.Sprintf("there are %d pods", len(pods))
		}
		for _, pod := range pods {
			if !podReady(pod) {
				return pod.Name + " is not ready"
			}
		}
		return ""
	})
}

// KillOperator ends the operator without letting it finish anything.
func (k *Kube) KillOperator(ctx context.Context) error {
	pods, err := k.operatorPods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := k.Delete(ctx, &pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("killing the operator: %w", err)
		}
	}
	return nil
}

func (k *Kube) operatorPods(ctx context.Context) ([]corev1.Pod, error) {
	deployment, err := k.operator(ctx)
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	err = k.List(ctx, &list, client.InNamespace(OperatorNamespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels))
	return list.Items, err
}

func podReady(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// readManifests reads every YAML document in a folder and puts the images in.
func readManifests(folder string, images Images) ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no manifest in %s", folder)
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a manifest: %w", err)
		}
		read, err := decodeManifest(content)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		for _, object := range read {
			if err := images.intoDeployment(object); err != nil {
				return nil, fmt.Errorf("reading %s: %w", file, err)
			}
		}
		objects = append(objects, read...)
	}
	return objects, nil
}

func decodeManifest(content []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// relatedImages are the operator's defaults, by the variable of its Deployment that sets each.
var relatedImages = map[string]string{
	"RELATED_IMAGE_POSTGRES_15": "postgres-15",
	"RELATED_IMAGE_POSTGRES_17": "postgres-17",
	"RELATED_IMAGE_PGBOUNCER":   "pgbouncer",
	"RELATED_IMAGE_AGENT":       "agent",
}

// intoDeployment puts the images where a user would put them: into the operator's Deployment.
func (i Images) intoDeployment(object *unstructured.Unstructured) error {
	if object.GetKind() != "Deployment" || object.GetName() != OperatorName {
		return nil
	}
	containers, found, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
	if err != nil || !found || len(containers) == 0 {
		return fmt.Errorf("the Deployment %s has no container: %w", OperatorName, err)
	}
	container, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("the Deployment %s has a container that is no object", OperatorName)
	}
	object.SetLabels(mergedLabels(object.GetLabels(), installedByLabel, string(fieldOwner)))
	container["image"] = i["operator"]
	container["env"] = i.environment(container["env"])
	return unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers")
}

func mergedLabels(labels map[string]string, key, value string) map[string]string {
	merged := maps.Clone(labels)
	if merged == nil {
		merged = map[string]string{}
	}
	merged[key] = value
	return merged
}

// environment keeps every variable but those of images.
func (i Images) environment(present any) []any {
	list, _ := present.([]any)
	env := slices.DeleteFunc(slices.Clone(list), func(entry any) bool {
		variable, _ := entry.(map[string]any)
		name, _ := variable["name"].(string)
		_, related := relatedImages[name]
		return related
	})
	for _, variable := range slices.Sorted(maps.Keys(relatedImages)) {
		if reference := i[relatedImages[variable]]; reference != "" {
			env = append(env, map[string]any{"name": variable, "value": reference})
		}
	}
	return env
}

// UninstallOperator removes what InstallOperator applied, the newest first. It stays while there is a
// cluster anywhere: with the CRD it would be deleted.
func (k *Kube) UninstallOperator(ctx context.Context) error {
	if os.Getenv(PresentVariable) != "" {
		return nil
	}
	var clusters v1beta1.PostgresClusterList
	if err := k.List(ctx, &clusters); err != nil || len(clusters.Items) > 0 {
		return err
	}
	for _, folder := range slices.Backward(manifestFolders) {
		objects, err := readManifests(filepath.Join(os.Getenv(RootVariable), folder), nil)
		if err != nil {
			return err
		}
		for _, object := range slices.Backward(objects) {
			if err := k.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("removing %s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}
