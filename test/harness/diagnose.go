package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	shownEvents   = 15
	shownLogLines = 12
)

// Diagnose tells in few lines what a person would look at first when something of the cluster is not as it should be.
func (c *Cluster) Diagnose(ctx context.Context) string {
	var b strings.Builder
	c.describeStatus(ctx, &b)
	c.describePods(ctx, &b)
	c.describeEvents(ctx, &b)
	c.Kube.describeOperator(ctx, &b)
	return b.String()
}

func (c *Cluster) describeStatus(ctx context.Context, b *strings.Builder) {
	cluster, err := c.Get(ctx)
	if err != nil {
		fmt.Fprintf(b, "PostgresCluster: %v\n", err)
		return
	}
	for _, condition := range cluster.Status.Conditions {
		fmt.Fprintf(b, "condition %s=%s %s: %s\n", condition.Type, condition.Status, condition.Reason, condition.Message)
	}
	if cluster.Status.TLS == nil {
		return
	}
	fmt.Fprintf(b, "tls %s, next renewal %s\n", cluster.Status.TLS.State, cluster.Status.TLS.NextRenewal)
	for _, blocker := range cluster.Status.TLS.Blockers {
		fmt.Fprintf(b, "blocker %s %s: %s\n", blocker.Party, blocker.Reason, blocker.Message)
	}
	for _, endpoint := range cluster.Status.TLS.Endpoints {
		fmt.Fprintf(b, "endpoint %s serial %.8s revision %.8s %s\n", endpoint.Name, endpoint.Serial, endpoint.Revision, endpoint.Reason)
	}
}

func (c *Cluster) describePods(ctx context.Context, b *strings.Builder) {
	pods, err := c.pods(ctx, "")
	if err != nil {
		fmt.Fprintln(b, err)
		return
	}
	for _, pod := range pods {
		fmt.Fprintf(b, "pod %s %s %s: %s\n", pod.Name, pod.Status.Phase, pod.Labels["role"], containerStates(pod))
		if podReady(pod) {
			continue
		}
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if !status.Ready {
				c.Kube.describeLog(ctx, b, pod, status.Name)
			}
		}
	}
}

func containerStates(pod corev1.Pod) string {
	var states []string
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		state := "not ready"
		switch {
		case status.Ready:
			state = "ready"
		case status.State.Waiting != nil:
			state = status.State.Waiting.Reason + " " + status.State.Waiting.Message
		case status.State.Terminated != nil:
			state = fmt.Sprintf("ended with %d", status.State.Terminated.ExitCode)
		}
		states = append(states, fmt.Sprintf("%s %s (%d restarts)", status.Name, state, status.RestartCount))
	}
	return strings.Join(states, ", ")
}

func (c *Cluster) describeEvents(ctx context.Context, b *strings.Builder) {
	events, err := c.Events(ctx)
	if err != nil {
		fmt.Fprintln(b, err)
		return
	}
	for _, event := range events[max(0, len(events)-shownEvents):] {
		fmt.Fprintf(b, "event %s %s %s: %s\n", event.At.Format("15:04:05"), event.About, event.Reason, event.Message)
	}
}

func (k *Kube) describeOperator(ctx context.Context, b *strings.Builder) {
	pods, err := k.operatorPods(ctx)
	if err != nil {
		fmt.Fprintf(b, "operator: %v\n", err)
		return
	}
	for _, pod := range pods {
		fmt.Fprintf(b, "pod %s %s: %s\n", pod.Name, pod.Status.Phase, containerStates(pod))
		for _, container := range pod.Spec.Containers {
			k.describeLog(ctx, b, pod, container.Name)
		}
	}
}

func (k *Kube) describeLog(ctx context.Context, b *strings.Builder, pod corev1.Pod, container string) {
	options := &corev1.PodLogOptions{Container: container, TailLines: ptr.To[int64](shownLogLines)}
	content, err := k.clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).DoRaw(ctx)
	if err != nil {
		return // it has not started: its state says why
	}
	for line := range strings.Lines(string(content)) {
		fmt.Fprintf(b, "  %s/%s: %.400s\n", pod.Name, container, strings.TrimSpace(line))
	}
}

// Event about something in the cluster's namespace, of either of the two APIs for events.
type Event struct {
	At      time.Time
	About   string // kind/name
	Reason  string
	Message string
}

// Events of the cluster's namespace, oldest first.
func (c *Cluster) Events(ctx context.Context) ([]Event, error) {
	var list corev1.EventList
	if err := c.Kube.List(ctx, &list, client.InNamespace(c.Namespace)); err != nil {
		return nil, fmt.Errorf("listing the events of %s: %w", c.Namespace, err)
	}
	events := make([]Event, 0, len(list.Items))
	for _, e := range list.Items {
		at := e.LastTimestamp.Time
		if at.IsZero() {
			at = e.EventTime.Time
		}
		events = append(events, Event{At: at, About: e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name, Reason: e.Reason, Message: e.Message})
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.At.Compare(b.At) })
	return events, nil
}
