package harness

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// nodeSummary is the part of a kubelet's /stats/summary that is read here.
type nodeSummary struct {
	Pods []struct {
		PodRef     struct{ Namespace, Name string }
		Containers []struct {
			Name   string
			Memory struct{ WorkingSetBytes uint64 }
		}
	}
}

// WorkingSets returns the memory in bytes that each container of a name has in use in a namespace, by pod, as
// the kubelets count it: what "kubectl top" shows, and what a limit is held against.
func (k *Kube) WorkingSets(ctx context.Context, namespace, container string) (map[string]uint64, error) {
	var nodes corev1.NodeList
	if err := k.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	sets := map[string]uint64{}
	for _, node := range nodes.Items {
		raw, err := k.clientset.CoreV1().RESTClient().Get().
			AbsPath("/api/v1/nodes", node.Name, "proxy", "stats", "summary").Param("only_cpu_and_memory", "true").DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking the kubelet of %s for its summary: %w", node.Name, err)
		}
		if err := addWorkingSets(sets, raw, namespace, container); err != nil {
			return nil, fmt.Errorf("reading the summary of %s: %w", node.Name, err)
		}
	}
	return sets, nil
}

func addWorkingSets(sets map[string]uint64, raw []byte, namespace, container string) error {
	var summary nodeSummary
	if err := json.Unmarshal(raw, &summary); err != nil {
		return err
	}
	for _, pod := range summary.Pods {
		for _, c := range pod.Containers {
			if pod.PodRef.Namespace == namespace && c.Name == container {
				sets[pod.PodRef.Name] = c.Memory.WorkingSetBytes
			}
		}
	}
	return nil
}
