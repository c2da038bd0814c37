package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// everything of the cluster with poolers that this controller makes, by objectName, and what is not made when it cannot be made.
func everything() map[string][]string {
	instances := []string{"StatefulSet hippo-00-0", "StatefulSet hippo-00-1"}
	return map[string][]string{
		"ServiceAccount hippo-instance":           instances,
		"Role hippo-instance":                     instances,
		"RoleBinding hippo-instance":              instances,
		"ConfigMap hippo-config":                  instances,
		"PersistentVolumeClaim hippo-00-0-pgdata": {"StatefulSet hippo-00-0"},
		"PersistentVolumeClaim hippo-00-1-pgdata": {"StatefulSet hippo-00-1"},
		"ConfigMap hippo-pgbouncer-config":        {"Deployment hippo-pgbouncer"},
		"Service hippo-primary":                   nil,
		"Service hippo-replicas":                  nil,
		"Service hippo-pods":                      nil,
		"Service hippo-pgbouncer":                 nil,
		"Secret hippo-pguser-hippo":               nil,
		"StatefulSet hippo-00-0":                  nil,
		"StatefulSet hippo-00-1":                  nil,
		"Deployment hippo-pgbouncer":              nil,
		"PodDisruptionBudget hippo-instances":     nil,
		"PodDisruptionBudget hippo-pgbouncer":     nil,
		"NetworkPolicy hippo-instances":           nil,
		"NetworkPolicy hippo-pgbouncer":           nil,
	}
}

func emptyOf(kind string) client.Object {
	return map[string]client.Object{
		"ServiceAccount": &corev1.ServiceAccount{}, "Role": &rbacv1.Role{}, "RoleBinding": &rbacv1.RoleBinding{}, "ConfigMap": &corev1.ConfigMap{},
		"PersistentVolumeClaim": &corev1.PersistentVolumeClaim{}, "Service": &corev1.Service{}, "Secret": &corev1.Secret{}, "ResourceQuota": &corev1.ResourceQuota{},
		"StatefulSet": &appsv1.StatefulSet{}, "Deployment": &appsv1.Deployment{},
		"PodDisruptionBudget": &policyv1.PodDisruptionBudget{}, "NetworkPolicy": &networkingv1.NetworkPolicy{},
	}[kind]
}

func (w *world) has(object string) bool {
	w.t.Helper()
	kind, name, _ := strings.Cut(object, " ")
	return w.exists(emptyOf(kind), name)
}

// wantAllBut compares which objects there are with all of them but the missing ones.
func (w *world) wantAllBut(missing ...string) {
	w.t.Helper()
	for object := range everything() {
		if got, want := w.has(object), !slices.Contains(missing, object); got != want {
			w.t.Errorf("%s: there %v, want %v", object, got, want)
		}
	}
}

func withMaterial(t *testing.T) *world {
	t.Helper()
	return newWorld(t, hippo(withPooler), material("hippo-00-0"), material("hippo-00-1"), material("hippo-pgbouncer"))
}

// causes that last, each with a text that differs at each attempt.
func lasting() map[string]func(attempt int) error {
	return map[string]func(int) error{
		"QuotaExceeded": func(n int) error {
			return apierrors.NewForbidden(corev1.Resource("x"), "x", fmt.Errorf("exceeded quota: few, requested: count/x=1, used: count/x=%d, limited: count/x=1", n))
		},
		"AddressesExhausted": func(int) error {
			return apierrors.NewInternalError(errors.New("failed to allocate a serviceIP: range is full"))
		},
		"AdmissionDenied": func(n int) error {
			return apierrors.NewForbidden(corev1.Resource("x"), "x", fmt.Errorf(`admission webhook "no.example.org" denied the request: request %d`, n))
		},
		"APIUnavailable": func(n int) error { return apierrors.NewServiceUnavailable(fmt.Sprintf("etcd leader %d", n)) },
		"Forbidden": func(int) error {
			return apierrors.NewForbidden(corev1.Resource("x"), "x", errors.New(`User "x" cannot create resource "x" in API group "" in the namespace "zoo"`))
		},
	}
}

func TestWalkAnObjectThatCannotBeMadeStopsOnlyWhatNeedsIt(t *testing.T) {
	causes := lasting()
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range causes {
			if !yield(name) {
				return
			}
		}
	})
	turn := 0
	for object, dependents := range everything() {
		cause := names[turn%len(names)]
		turn++
		t.Run(object+" "+cause, func(t *testing.T) {
			w := withMaterial(t)
			tries := 0
			w.deny = func(verb, kind, name string) error {
				if verb != "apply" || objectName(kind, name) != object {
					return nil
				}
				tries++
				return causes[cause](tries)
			}
			w.round()
			w.round()
			w.wantAllBut(append(dependents, object)...)
			kind, name, _ := strings.Cut(object, " ")
			if reason, message := w.progressing(); reason != string(decide.StepFailed) || !strings.Contains(message, kind+" zoo/"+name+": "+cause) {
				t.Errorf("%s %q", reason, message)
			}
			if turn <= 3 { // of three causes
				w.isToldOnceWhileItLasts("apply " + object)
			}
			w.deny, w.at = nil, w.at.Add(attempt.LastRetry)
			w.round()
			w.round()
			w.wantAllBut()
			if reason, message := w.progressing(); reason == string(decide.StepFailed) {
				t.Errorf("it did not recover: %s %q", reason, message)
			}
		})
	}
}

// isToldOnceWhileItLasts goes on for two minutes in which nothing changes: attempts become rare, and the status is not written again.
func (w *world) isToldOnceWhileItLasts(write string) {
	w.t.Helper()
	for _, instance := range []string{"hippo-00-0", "hippo-00-1"} { // nothing else is to be waited for
		w.must(w.client.Create(w.t.Context(), pod(instance)))
	}
	w.round()
	before := w.tries[write]
	w.told()
	for end := w.at.Add(2 * time.Minute); w.at.Before(end); w.at = w.at.Add(w.again) {
		for _, written := range w.round() {
			if !strings.HasPrefix(written, "apply *") {
				w.t.Fatalf("written while nothing changed: %s", written)
			}
		}
		if w.again <= 0 || w.again > attempt.LastRetry {
			w.t.Fatalf("the next round comes after %v", w.again)
		}
	}
	if tries := w.tries[write] - before; tries < 5 || tries > 9 {
		w.t.Errorf("%d attempts in two minutes", tries)
	}
	if told := w.told(); len(told) != 0 {
		w.t.Errorf("told again: %v", told)
	}
}

func TestWalkAVerbThatIsDeniedForAKindStopsOnlyWhatNeedsTheKind(t *testing.T) {
	for _, c := range []struct {
		kind    string
		missing []string
	}{
		{"Service", []string{"Service hippo-primary", "Service hippo-replicas", "Service hippo-pods", "Service hippo-pgbouncer"}},
		{"Secret", []string{"Secret hippo-pguser-hippo"}},
		{"PodDisruptionBudget", []string{"PodDisruptionBudget hippo-instances", "PodDisruptionBudget hippo-pgbouncer"}},
		{"NetworkPolicy", []string{"NetworkPolicy hippo-instances", "NetworkPolicy hippo-pgbouncer"}},
		{"StatefulSet", []string{"StatefulSet hippo-00-0", "StatefulSet hippo-00-1"}},
		{"PersistentVolumeClaim", []string{"PersistentVolumeClaim hippo-00-0-pgdata", "PersistentVolumeClaim hippo-00-1-pgdata", "StatefulSet hippo-00-0", "StatefulSet hippo-00-1"}},
		{"Role", []string{"Role hippo-instance", "StatefulSet hippo-00-0", "StatefulSet hippo-00-1"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			w := withMaterial(t)
			w.deny = func(verb, kind, name string) error {
				if kind != c.kind || verb != "apply" {
					return nil
				}
				return lasting()["Forbidden"](0)
			}
			w.round()
			w.round()
			w.wantAllBut(c.missing...)
			w.deny, w.at = nil, w.at.Add(attempt.LastRetry)
			w.round()
			w.round()
			w.wantAllBut()
		})
	}
}

// A changed spec is tried at once, however long the pause after the last failure is.
func TestAChangedSpecIsTriedAtOnce(t *testing.T) {
	w := withMaterial(t)
	w.deny = func(_, kind, _ string) error {
		if kind == "Service" {
			return lasting()["AddressesExhausted"](0)
		}
		return nil
	}
	for range 8 {
		w.round()
		w.at = w.at.Add(attempt.LastRetry)
	}
	w.round()
	w.deny = nil
	w.round()
	w.wantAllBut("Service hippo-primary", "Service hippo-replicas", "Service hippo-pods", "Service hippo-pgbouncer")
	cluster := hippo()
	w.exists(cluster, "hippo")
	cluster.Generation++
	if err := w.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	w.round()
	w.wantAllBut()
}

// What is there already and cannot be changed keeps nothing from going on, but for a configuration whose hash is in the pods' template.
func TestWalkAnObjectThatCannotBeChanged(t *testing.T) {
	immutable := apierrors.NewInvalid(schema.GroupKind{Kind: "x"}, "x", field.ErrorList{field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set")})
	for kind, proceeds := range map[string]bool{"RoleBinding": true, "ServiceAccount": true, "PersistentVolumeClaim": true, "ConfigMap": false} {
		t.Run(kind, func(t *testing.T) {
			w := withMaterial(t)
			w.round()
			w.round()
			w.deny = func(_, denied, _ string) error {
				if denied == kind {
					return immutable
				}
				return nil
			}
			cluster := hippo()
			w.exists(cluster, "hippo")
			cluster.Generation++
			cluster.Spec.ImagePullPolicy = corev1.PullAlways
			cluster.Spec.Metadata = metadata("team", "zoo")
			cluster.Spec.Instances[0].DataVolumeClaimSpec.VolumeName = "other"
			if err := w.client.Update(t.Context(), cluster); err != nil {
				t.Fatal(err)
			}
			w.round()
			statefulSet := &appsv1.StatefulSet{}
			w.exists(statefulSet, "hippo-00-0")
			if got := statefulSet.Spec.Template.Spec.Containers[0].ImagePullPolicy == corev1.PullAlways; got != proceeds {
				t.Errorf("the StatefulSet went on: %v", got)
			}
			if _, message := w.progressing(); !strings.Contains(message, "Immutable: ") || !strings.Contains(message, "(data)") {
				t.Errorf("message %q", message)
			}
		})
	}
}

func TestNoPodIsReplacedWhoseSuccessorWouldNotStart(t *testing.T) {
	w, _ := running(t, asItIs)
	w.outdate("hippo-00-1")
	w.deny = func(_, kind, _ string) error {
		if kind == "ConfigMap" {
			return lasting()["QuotaExceeded"](1)
		}
		return nil
	}
	w.round()
	if !w.exists(&corev1.Pod{}, "hippo-00-1-0") {
		t.Error("the pod was deleted, and its configuration cannot be written")
	}
	w.deny, w.at = nil, w.at.Add(attempt.LastRetry)
	w.round()
	if w.exists(&corev1.Pod{}, "hippo-00-1-0") {
		t.Error("the pod was not replaced")
	}
}

func TestAConflictIsLookedAtAgainAndNotReported(t *testing.T) {
	w := withMaterial(t)
	w.deny = func(_, kind, _ string) error {
		if kind == "Service" {
			return apierrors.NewConflict(corev1.Resource("services"), "x", errors.New("changed"))
		}
		return nil
	}
	w.round()
	if reason, message := w.progressing(); reason == string(decide.StepFailed) || w.again > decide.Soon/4 || w.again == 0 {
		t.Errorf("%s %q, again after %v", reason, message, w.again)
	}
	w.deny = nil
	w.round()
	w.wantAllBut()
}

func TestStepsNeedEarlierSteps(t *testing.T) {
	var earlier []string
	for _, s := range steps() {
		for _, need := range s.needs {
			if !slices.Contains(earlier, need) {
				t.Errorf("%q needs %q, which does not come before it", s.name, need)
			}
		}
		if slices.Contains(earlier, s.name) {
			t.Errorf("two steps are called %q", s.name)
		}
		earlier = append(earlier, s.name)
	}
}

// A new cluster must not start with what an earlier one left of Patroni, nor take it over.
func TestLeftoversThatCannotBeDeletedKeepTheNewClusterFromStarting(t *testing.T) {
	w := newWorld(t, hippo(), patronis("hippo-ha-config"), material("hippo-00-0"), material("hippo-00-1"))
	w.deny = func(verb, kind, _ string) error {
		if verb == "delete" && kind == "ConfigMap" {
			return lasting()["AdmissionDenied"](1)
		}
		return nil
	}
	w.round()
	w.round()
	leftover := &corev1.ConfigMap{}
	if w.exists(&appsv1.StatefulSet{}, "hippo-00-0") || !w.exists(leftover, "hippo-ha-config") || len(leftover.OwnerReferences) != 0 {
		t.Error("the new cluster started, or took the leftover over")
	}
	if !w.exists(&corev1.Service{}, "hippo-primary") || !w.exists(&corev1.Secret{}, desired.UserSecret("hippo", "hippo")) {
		t.Error("what does not need it was not made")
	}
	w.deny, w.at = nil, w.at.Add(attempt.LastRetry)
	w.round()
	w.round()
	if !w.exists(&appsv1.StatefulSet{}, "hippo-00-0") {
		t.Error("the new cluster did not start")
	}
}
