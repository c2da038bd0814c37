package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
)

// manifest finds the document of a kind in an install manifest.
func manifest(t *testing.T, path, kind string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", path)) //nolint:gosec // a file of the work tree
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		var header struct{ Kind string }
		if err := yaml.Unmarshal(document, &header); err != nil {
			t.Fatal(err)
		}
		if header.Kind != kind {
			continue
		}
		if err := yaml.UnmarshalStrict(document, into); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("%s has no %s", path, kind)
}

func deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	var d appsv1.Deployment
	manifest(t, "manager/operator.yaml", "Deployment", &d)
	return &d
}

func TestTheManifestSetsEveryImage(t *testing.T) {
	environment := map[string]string{"POD_NAMESPACE": "pgtls-system"}
	for _, variable := range deployment(t).Spec.Template.Spec.Containers[0].Env {
		if variable.Value != "" {
			environment[variable.Name] = variable.Value
		}
	}
	got := fromEnvironment(func(name string) string { return environment[name] }).settings()
	want := desired.Settings{OperatorNamespace: "pgtls-system", Images: desired.Images{
		Postgres:  map[int]string{15: "pgtls.dev/postgres-15", 17: "pgtls.dev/postgres-17"},
		PGBouncer: "pgtls.dev/pgbouncer", Agent: "pgtls.dev/agent",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheManifestsFlagsAreKnown(t *testing.T) {
	flags := pflag.NewFlagSet("operator", pflag.ContinueOnError)
	fromEnvironment(func(string) string { return "" }).bind(flags)
	if err := flags.Parse(deployment(t).Spec.Template.Spec.Containers[0].Args); err != nil {
		t.Error(err)
	}
}

func TestThereIsNeverASecondOperator(t *testing.T) {
	spec := deployment(t).Spec
	if *spec.Replicas != 1 || spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		t.Errorf("%d replicas, strategy %s", *spec.Replicas, spec.Strategy.Type)
	}
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	o := fromEnvironment(func(name string) string { return "env:" + name })
	flags := pflag.NewFlagSet("operator", pflag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse([]string{"--image-postgres-17=mine", "--cluster-domain=kube.test", "--namespace=a", "--namespace=b"}); err != nil {
		t.Fatal(err)
	}
	got := o.settings()
	if got.Images.Postgres[17] != "mine" || got.Images.Postgres[15] != "env:RELATED_IMAGE_POSTGRES_15" || got.ClusterDomain != "kube.test" {
		t.Errorf("settings %+v", got)
	}
	if !slices.Equal(o.namespaces, []string{"a", "b"}) {
		t.Errorf("namespaces %v", o.namespaces)
	}
}

func TestTheCacheHoldsOnlyWhatBelongsToClusters(t *testing.T) {
	options, err := cacheOptions([]string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		labels labels.Set
		want   bool
	}{
		"a cluster's":  {labels.Set{desired.ClusterLabel: "hippo"}, true},
		"a stranger's": {labels.Set{"app": "x"}, false},
	} {
		if options.DefaultLabelSelector.Matches(c.labels) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
	for object, by := range options.ByObject {
		if _, ok := object.(*v1beta1.PostgresCluster); !ok || !by.Label.Matches(labels.Set{}) {
			t.Errorf("%T is selected by %v", object, by.Label)
		}
	}
	if _, ok := options.DefaultNamespaces["a"]; !ok || len(options.DefaultNamespaces) != 1 {
		t.Errorf("namespaces %v", options.DefaultNamespaces)
	}
}

// The API server lets no account give away a permission that it has not.
func TestTheOperatorMayGiveWhatPatroniNeeds(t *testing.T) {
	var mine rbacv1.ClusterRole
	manifest(t, "rbac/operator.yaml", "ClusterRole", &mine)
	cluster := &v1beta1.PostgresCluster{ObjectMeta: metav1.ObjectMeta{Name: "hippo"}}
	for _, rule := range desired.Role(cluster, []string{"hippo-00-0-0"}).Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if !allows(mine.Rules, rule.APIGroups[0], resource, verb) {
					t.Errorf("the operator may not %s %s", verb, resource)
				}
			}
		}
	}
}

// Nothing that a part of the operator never does, and no star.
func TestTheOperatorsPermissionsAreListedOneByOne(t *testing.T) {
	var mine rbacv1.ClusterRole
	manifest(t, "rbac/operator.yaml", "ClusterRole", &mine)
	for _, rule := range mine.Rules {
		for _, entry := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
			if entry == "*" {
				t.Errorf("a star in %+v", rule)
			}
		}
	}
	for _, forbidden := range [][3]string{
		{"", "pods/exec", "create"}, {"", "nodes", "get"}, {"rbac.authorization.k8s.io", "roles", "escalate"},
		{"rbac.authorization.k8s.io", "clusterroles", "create"}, {"pgtls.dev", "postgresclusters", "delete"},
	} {
		if allows(mine.Rules, forbidden[0], forbidden[1], forbidden[2]) {
			t.Errorf("may %s %s", forbidden[2], forbidden[1])
		}
	}
}

func allows(rules []rbacv1.PolicyRule, group, resource, verb string) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.APIGroups, group) && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb)
	})
}
