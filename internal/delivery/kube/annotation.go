package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PatchPodAnnotation sets one annotation of exactly this pod (by UID) with one patch; none when it has that value.
func (a *Applier) PatchPodAnnotation(ctx context.Context, pod *corev1.Pod, key, value string) (changed bool, err error) {
	if have, ok := pod.Annotations[key]; ok && have == value {
		return false, nil
	}
	metadata := precondition(pod.UID)
	metadata["annotations"] = map[string]string{key: value}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return false, fmt.Errorf("encoding annotation %s: %w", key, err)
	}
	if err := a.Permit(ctx, pod.Namespace); err != nil {
		return false, err
	}
	target := &corev1.Pod{}
	target.Namespace, target.Name = pod.Namespace, pod.Name
	if err := a.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), a.Owner); err != nil {
		return false, failed("setting annotation "+key+" of", Object{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}, err)
	}
	return true, nil
}
