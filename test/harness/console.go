package harness

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Console is PgBouncer's own console. It listens on the socket in the pod
// only, so an ephemeral container with psql shares the socket's volume.
type Console struct {
	cluster *Cluster
	pod     string
}

const consoleContainer = "console"

// OpenConsole adds the container to a pooler's pod, once, and waits until it runs.
func (c *Cluster) OpenConsole(ctx context.Context, pod string, images Images) (*Console, error) {
	console := &Console{cluster: c, pod: pod}
	key := client.ObjectKey{Namespace: c.Namespace, Name: pod}
	var object corev1.Pod
	if err := c.Kube.Get(ctx, key, &object); err != nil {
		return nil, err
	}
	if len(object.Spec.EphemeralContainers) == 0 {
		object.Spec.EphemeralContainers = []corev1.EphemeralContainer{consoleIn(images["client"])}
		if err := c.Kube.SubResource("ephemeralcontainers").Update(ctx, &object); err != nil {
			return nil, fmt.Errorf("adding a console to %s: %w", pod, err)
		}
	}
	return console, Await(ctx, "the console of "+pod, time.Minute, func(ctx context.Context) string {
		if err := c.Kube.Get(ctx, key, &object); err != nil {
			return err.Error()
		}
		for _, status := range object.Status.EphemeralContainerStatuses {
			if status.State.Running != nil {
				return ""
			}
		}
		return "it does not run yet"
	})
}

func consoleIn(image string) corev1.EphemeralContainer {
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: consoleContainer, Image: image,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "run", MountPath: "/run/postgresql"}},
	}}
}

// Show is the answer to SHOW <list>, each row by the names of its columns.
func (c *Console) Show(ctx context.Context, list string) ([]map[string]string, error) {
	out, err := c.cluster.Kube.RunIn(ctx, c.cluster.Namespace, c.pod, consoleContainer,
		"psql", "--no-psqlrc", "--no-align", "--pset=footer=off", "--quiet", "--command", "SHOW "+list,
		"host=/run/postgresql port=5432 user=pgbouncer dbname=pgbouncer")
	if err != nil {
		return nil, err
	}
	return parseTable(out), nil
}

// parseTable reads psql's unaligned output: a line of names, then the rows.
func parseTable(out string) []map[string]string {
	var names []string
	var rows []map[string]string
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "|")
		if names == nil {
			names = fields
			continue
		}
		row := map[string]string{}
		for i, field := range fields {
			row[names[min(i, len(names)-1)]] = field
		}
		rows = append(rows, row)
	}
	return rows
}
