package tls

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func TestWhatASpecNamesIsIndexed(t *testing.T) {
	issuer := &v1beta1.IssuerReference{Name: "company"}
	cases := map[string]struct {
		how  []func(*v1beta1.PostgresCluster)
		want []string
	}{
		"nothing":             {nil, nil},
		"three Secrets":       {[]func(*v1beta1.PostgresCluster){naming(serverSlot, "s"), naming(replicationSlot, "r"), naming(poolerSlot, "p")}, []string{"Secret/p", "Secret/r", "Secret/s"}},
		"one Secret twice":    {[]func(*v1beta1.PostgresCluster){naming(serverSlot, "s"), naming(poolerSlot, "s")}, []string{"Secret/s"}},
		"trust of both kinds": {[]func(*v1beta1.PostgresCluster){trusting(facts.Server, inSecret, inConfigMap)}, []string{"ConfigMap/bundle", "Secret/partners"}},
		"trust of clients":    {[]func(*v1beta1.PostgresCluster){trusting(facts.Client, inConfigMap)}, []string{"ConfigMap/bundle"}},
		"issuers": {[]func(*v1beta1.PostgresCluster){func(c *v1beta1.PostgresCluster) {
			c.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{IssuerRef: issuer}, Client: &v1beta1.ClientTLSSpec{IssuerRef: issuer}}
		}}, []string{"Secret/hippo-instances-cert", "Secret/hippo-pgbouncer-cert", "Secret/hippo-replication-cert"}},
		"an issuer, and a Secret in its place": {[]func(*v1beta1.PostgresCluster){naming(serverSlot, "s"), func(c *v1beta1.PostgresCluster) {
			c.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{IssuerRef: issuer}}
			c.Spec.Proxy = nil
		}}, []string{"Secret/s"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cluster := tlstest.ACluster()
			for _, how := range c.how {
				how(cluster)
			}
			if diff := cmp.Diff(c.want, referencesIn(cluster)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got := referencesIn(&corev1.Pod{}); got != nil {
		t.Errorf("a pod names %v", got)
	}
}

func TestAChangeConcernsTheClustersThatNameTheObject(t *testing.T) {
	h := newFixture(t)
	h.change(naming(serverSlot, "shared"))
	add := func(namespace, name string, how func(*v1beta1.PostgresCluster)) {
		cluster := tlstest.ACluster()
		cluster.Namespace, cluster.Name, cluster.UID = namespace, name, types.UID(namespace+name)
		how(cluster)
		if err := h.client.Create(t.Context(), cluster); err != nil {
			t.Fatal(err)
		}
	}
	add(tlstest.Hippo.Namespace, "rhino", naming(poolerSlot, "shared"))
	add(tlstest.Hippo.Namespace, "zebra", naming(poolerSlot, "other"))
	add("elsewhere", "hippo", naming(serverSlot, "shared"))
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: "shared"}}
	got := referencing(t.Context(), h.client, wanted.SecretKind, object)
	slices.SortFunc(got, func(a, b ctrl.Request) int { return len(b.Name) - len(a.Name) })
	want := map[types.NamespacedName]bool{tlstest.Hippo: true, {Namespace: tlstest.Hippo.Namespace, Name: "rhino"}: true}
	if len(got) != 2 || !want[got[0].NamespacedName] || !want[got[1].NamespacedName] {
		t.Errorf("a change of the Secret concerns %v", got)
	}
	if got := referencing(t.Context(), h.client, wanted.ConfigMapKind, object); len(got) > 0 {
		t.Errorf("a change of the ConfigMap of that name concerns %v", got)
	}
	away := interceptor.NewClient(h.client.(client.WithWatch), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("away")
		},
	})
	if got := referencing(t.Context(), away, wanted.SecretKind, object); len(got) > 0 {
		t.Errorf("it cannot be looked up, and concerns %v", got)
	}
}

func TestOfSecretsOnlyTheNameIsKept(t *testing.T) {
	whole := metadataOf(wanted.SecretKind)
	whole.Namespace, whole.Name, whole.UID, whole.ResourceVersion = "zoo", "s", "u", "7"
	want := whole.DeepCopy()
	whole.Labels, whole.Annotations = map[string]string{"a": "b"}, map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "the whole Secret"}
	whole.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	got, err := onlyName(whole)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if got, err := onlyName("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
