package decide

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/desired"
)

// A Member is what is known of one instance, wanted or not, when it is decided which to replace, restart or remove.
// What is not known is false: an unknown fact is never a yes.
type Member struct {
	Instance       string
	Set            string
	Index          int
	Wanted         bool
	Exists         bool // its pod exists
	Terminating    bool
	Ready          bool
	Outdated       bool // the pod is not what the StatefulSet makes now
	Primary        bool
	Streaming      bool // the primary, or a replica that streams from it
	PendingRestart bool // a setting takes effect only with a restart of PostgreSQL
	Restarted      bool // it was restarted for the present spec already
}

// healthy members need no patience with them.
func (m Member) healthy() bool { return m.Exists && m.Ready && !m.Terminating && m.Streaming }

// A State is what Patroni says of a member.
type State struct {
	Leader         bool
	Streaming      bool
	PendingRestart bool
}

// Objects are what exists of the instances, by instance.
type Objects struct {
	StatefulSets map[string]*appsv1.StatefulSet
	Pods         map[string]*corev1.Pod
}

// Members joins what the spec wants, what exists, and what Patroni says of each pod. Nil states are unknown ones.
func Members(wanted []desired.Instance, seen Objects, states map[string]State) []Member {
	byName := map[string]*Member{}
	for _, instance := range wanted {
		byName[instance.Name] = &Member{Instance: instance.Name, Set: instance.Set.Name, Index: instance.Index, Wanted: true}
	}
	for name, statefulSet := range seen.StatefulSets {
		if byName[name] == nil {
			set := statefulSet.Labels[desired.InstanceSetLabel]
			byName[name] = &Member{Instance: name, Set: set, Index: indexOf(name)}
		}
	}
	all := make([]Member, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		m := byName[name]
		m.seePod(seen.Pods[name], seen.StatefulSets[name])
		m.seePatroni(states)
		all = append(all, *m)
	}
	return all
}

func (m *Member) seePod(pod *corev1.Pod, statefulSet *appsv1.StatefulSet) {
	if pod == nil {
		return
	}
	m.Exists = true
	m.Terminating = pod.DeletionTimestamp != nil
	m.Ready = PodReady(pod)
	m.Outdated = statefulSet != nil && LookedAt(statefulSet) && statefulSet.Status.UpdateRevision != "" &&
		pod.Labels[appsv1.ControllerRevisionHashLabelKey] != statefulSet.Status.UpdateRevision
	m.Primary = desired.IsPrimaryRole(pod.Labels[desired.RoleLabel])
}

// seePatroni lets Patroni's own word on which pod is the primary stand over the label, which it writes a moment later.
func (m *Member) seePatroni(states map[string]State) {
	if states == nil {
		return
	}
	state, known := states[desired.PodName(m.Instance)]
	m.Primary = known && state.Leader
	m.Streaming = known && (state.Leader || state.Streaming)
	m.PendingRestart = known && state.PendingRestart
}

// LookedAt tells whether Kubernetes has seen the StatefulSet's present template.
func LookedAt(statefulSet *appsv1.StatefulSet) bool {
	return statefulSet.Status.ObservedGeneration >= statefulSet.Generation
}

// PodReady tells whether a pod is ready and stays.
func PodReady(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// indexOf reads the number at the end of an instance's name; -1 when there is none.
func indexOf(instance string) int {
	index, scale := 0, 1
	end := len(instance)
	for end > 0 && instance[end-1] >= '0' && instance[end-1] <= '9' && scale <= 1_000_000 {
		end--
		index += int(instance[end]-'0') * scale
		scale *= 10
	}
	if end == len(instance) {
		return -1
	}
	return index
}
