package gather

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// endpointsOf are the ports of a pod that are to be proven now. Those of the process count once it is ready: until then it serves
// nothing, and it starts with what is installed.
func endpointsOf(v *look, kind *party.Kind, pod *corev1.Pod) (endpoints []evidence.Endpoint) {
	for _, port := range append([]party.Port{party.AgentPort()}, kind.Process.Ports...) {
		if port.OfProcess && !containerReady(pod, kind.Process.Container) {
			continue
		}
		endpoint := evidence.Endpoint{Name: port.Name, Port: wanted.PortOf(v.Cluster, port), Protocol: probe.Protocol(port.Protocol)}
		if port.Login {
			endpoint.User = agentapi.OperatorIdentity
		}
		endpoints = append(endpoints, endpoint)
	}
	return endpoints
}

// gatherPods lists the pods that serve, with reports and proofs.
func gatherPods(ctx context.Context, v *look) error {
	pods, err := v.podsLabelled(ctx, desired.ClusterLabels(v.Cluster.Name))
	if err != nil {
		return fmt.Errorf("listing the pods of %s: %w", v.Cluster.Name, err)
	}
	identity := sync.OnceValue(v.Identity) // it is parsed for pods alone
	watched := map[evidence.Run]bool{}
	v.pods, v.HasPods = pods, len(pods) > 0
	for i := range pods {
		pod := &pods[i]
		v.held[wanted.MaterialOf(v.Cluster.Name, pod)] = true
		if v.Party(wanted.MaterialOf(v.Cluster.Name, pod)) == nil || !serves(pod) {
			continue
		}
		v.Pods[pod.Name] = pod
		watched[snapshot.RunOf(pod)] = true
		v.Agents.Watch(snapshot.RunOf(pod), evidence.Target{
			Cluster: client.ObjectKeyFromObject(v.Cluster), Pod: pod.Name,
			ServerName: snapshot.ServerName(v.Cluster, pod), Identity: identity(),
		})
	}
	v.Agents.KeepOnly(client.ObjectKeyFromObject(v.Cluster), watched)
	v.Proofs.KeepOnly(client.ObjectKeyFromObject(v.Cluster), watched)
	v.Terminations.KeepOnly(client.ObjectKeyFromObject(v.Cluster), watched)
	v.Agents.Await(ctx, watched)
	undelivered := map[types.UID]bool{}
	for _, name := range slices.Sorted(maps.Keys(v.Pods)) {
		if pod := v.Pods[name]; gatherPod(v, pod) {
			undelivered[pod.UID] = true
		}
	}
	v.Retriggers.KeepOnly(client.ObjectKeyFromObject(v.Cluster), undelivered)
	return nil
}

// gatherPod adds what is known of a pod, and tells whether the kubelet has not delivered what the pod was asked for.
func gatherPod(v *look, pod *corev1.Pod) (undelivered bool) {
	report := v.Agents.Report(snapshot.RunOf(pod))
	holder := v.Party(wanted.MaterialOf(v.Cluster.Name, pod))
	if servesNothing(holder.Kind, pod, report) && !inDoubt(v, pod, holder) {
		return false
	}
	v.Endpoints[pod.Name] = endpointsOf(v, holder.Kind, pod)
	seen := facts.Pod{
		Name:       pod.Name,
		Primary:    desired.IsPrimaryRole(pod.Labels[desired.RoleLabel]),
		Asked:      pod.Annotations[material.ActivateAnnotation],
		Report:     reportFacts(report, v.Observed.Now),
		Proofs:     v.Proofs.Of(pod.UID, v.Endpoints[pod.Name], v.Observed.Now),
		Terminated: v.Terminations.Of(pod.UID),
	}
	if undelivered = isUndelivered(report, seen.Asked); undelivered {
		seen.RetriggerAt = v.Retriggers.Due(client.ObjectKeyFromObject(v.Cluster), pod.UID, seen.Asked, v.Observed.Now)
	}
	holder.Pods = append(holder.Pods, seen)
	v.Reports[pod.Name] = report
	for _, e := range v.Endpoints[pod.Name] {
		if last, ok := v.Proofs.Last(pod.UID, e.Name); ok {
			v.Handshakes[snapshot.EndpointName(pod.Name, e.Name)] = last
		}
	}
	return undelivered
}

// isUndelivered reports whether an agent is known to lack the files of the revision that its pod was asked to use, or
// the request itself: they come in two volumes.
func isUndelivered(report *agentapi.Report, asked string) bool {
	return report != nil && asked != "" && (report.Mounted != asked || report.Asked != asked)
}

// inDoubt reports whether a pod was asked to use what is published and was never seen to serve it: if its
// process is down, that may be why, and no other pod may follow.
func inDoubt(v *look, pod *corev1.Pod, holder *facts.Party) bool {
	asked := pod.Annotations[material.ActivateAnnotation]
	return asked != "" && asked == holder.Material.Revision && !v.Proofs.Saw(pod.UID, asked)
}

// serves reports whether a pod may serve something: its agent has started, or
// what the agent let start runs. An agent that has crashed since is not started,
// and the pod goes on serving: nothing is known of it, and unknown is no.
func serves(pod *corev1.Pod) bool {
	if !pod.DeletionTimestamp.IsZero() || pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
		return false
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name == desired.AgentContainer && status.Started != nil && *status.Started {
			return true
		}
	}
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(status corev1.ContainerStatus) bool {
		return status.State.Running != nil
	})
}

// servesNothing reports whether the process beside the agent is known to be down:
// such a pod delays no other, and starts with what is installed.
func servesNothing(kind *party.Kind, pod *corev1.Pod, report *agentapi.Report) bool {
	up := containerReady(pod, kind.Process.Container)
	return !up && report != nil && report.Problem != nil && report.Problem.Reason == agentapi.ProcessNotReady
}

func containerReady(pod *corev1.Pod, name string) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == name {
			return status.Ready
		}
	}
	return false
}

func reportFacts(report *agentapi.Report, now time.Time) *facts.Report {
	if report == nil {
		return nil
	}
	details := &facts.Report{
		Active: report.Active, Mounted: report.Mounted, Asked: report.Asked, Lists: report.RevocationLists,
		Loaded: facts.Bundles{Server: report.ServerAnchors, Client: report.ClientAnchors},
	}
	for _, r := range report.Refused {
		until := now
		if r.Until != nil {
			until = *r.Until
		}
		details.Refused = append(details.Refused, facts.Refused{IssuerKeyID: r.Issuer, Count: int(min(r.Count, math.MaxInt32)), Served: until.Sub(r.Since)})
	}
	for _, leaf := range []*agentapi.Leaf{report.ServerLeaf, report.ClientLeaf, report.ServedLeaf, report.PresentedLeaf} {
		if leaf != nil && (details.ActiveUntil.IsZero() || leaf.NotAfter.Before(details.ActiveUntil)) {
			details.ActiveUntil = leaf.NotAfter
		}
	}
	if report.Problem != nil {
		details.ProblemReason, details.ProblemMessage = string(report.Problem.Reason), report.Problem.Message
	}
	return details
}
