//go:build e2e

package e2e

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/test/harness"
)

// A cluster at rest costs the API server nothing: minutes without a write. "make test": 2 minutes; "make soak": 5.
func idle(s *story) {
	c := s.standing()
	s.agentsHaveNoAccess(c)
	// What a story before this one has set going ends first: then the count begins.
	s.must(c.AwaitHandled(s.Context(), readyLimit))
	s.must(c.AwaitSettled(s.Context(), readyLimit))
	log, err := harness.OpenAuditLog()
	if errors.Is(err, os.ErrNotExist) {
		s.Skip("there is no audit log to count in: ", err)
	}
	s.must(err)

	time.Sleep(sized.rest)

	// The operator works for another story's cluster meanwhile; what it does there is not about this one.
	operator := "system:serviceaccount:" + harness.OperatorNamespace + ":"
	ofTheOperator := func(w harness.Write) bool {
		return strings.HasPrefix(w.User, operator) && (w.Namespace == c.Namespace || w.Namespace == "" || w.Namespace == harness.OperatorNamespace)
	}
	writes, err := log.Writes(ofTheOperator)
	s.must(err)
	s.fact("restSeconds", sized.rest.Seconds())
	s.fact("writes", len(writes))
	for _, write := range writes {
		s.Errorf("a write at rest: %s", write)
	}
	s.must(c.AwaitReady(s.Context(), time.Second))
	// The count would have seen a write: it sees one that is asked for now.
	s.must(c.AwaitHandled(s.Context(), readyLimit))
	s.eventually("a write of the operator in the audit log", readyLimit, func(context.Context) string {
		if writes, err = log.Writes(ofTheOperator); err != nil {
			return err.Error()
		}
		if len(writes) == 0 {
			return "none"
		}
		return ""
	})
	s.memory(harness.OperatorNamespace, "operator", 60)
	s.memory(c.Namespace, "agent", 15)
}

// memory wants every container of a name within a number of megabytes (of 1,000,000 bytes).
func (s *story) memory(namespace, container string, limit float64) {
	s.Helper()
	sets, err := kube.WorkingSets(s.Context(), namespace, container)
	s.must(err)
	if len(sets) == 0 {
		s.Errorf("the kubelet tells nothing of container %s in %s", container, namespace)
	}
	most := 0.0
	for pod, bytes := range sets {
		used := float64(bytes) / 1e6
		most = max(most, used)
		if used > limit {
			s.Errorf("container %s of pod %s uses %.1f MB, want at most %.0f", container, pod, used, limit)
		}
	}
	s.fact(container+"MemoryMB", math.Round(10*most)/10)
}

// agentsHaveNoAccess makes the count complete: an agent has no token to write with.
func (s *story) agentsHaveNoAccess(c *living) {
	s.Helper()
	for _, pod := range s.podsOf(c) {
		tokens := tokenVolumes(pod)
		for _, container := range pod.Spec.InitContainers {
			for _, mount := range container.VolumeMounts {
				if tokens[mount.Name] {
					s.Errorf("container %s of pod %s mounts a service account token", container.Name, pod.Name)
				}
			}
		}
	}
}

func tokenVolumes(pod corev1.Pod) map[string]bool {
	tokens := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.ServiceAccountToken != nil {
				tokens[volume.Name] = true
			}
		}
	}
	return tokens
}
