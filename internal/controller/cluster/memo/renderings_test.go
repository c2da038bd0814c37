package memo

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/clustertest"
)

func TestAConfigurationIsRenderedAnewForAChangedSpec(t *testing.T) {
	known, cluster := NewRenderings(), clustertest.Hippo()
	config, hash, err := known.Of(cluster)
	if err != nil {
		t.Fatal(err)
	}
	config.Data["patroni.yaml"] = "spoiled by its caller"
	if again, _, _ := known.Of(cluster); again.Data["patroni.yaml"] == config.Data["patroni.yaml"] {
		t.Error("what a caller changed is remembered")
	}
	changed := cluster.DeepCopy()
	changed.Spec.PostgresVersion = 15
	if _, same, _ := known.Of(changed); same != hash {
		t.Error("the configuration of one generation is rendered twice")
	}
	changed.Generation++
	if _, other, _ := known.Of(changed); other == hash {
		t.Error("the configuration of an earlier spec is taken for that of a changed one")
	}
	namesake := changed.DeepCopy()
	namesake.UID, namesake.Spec.PostgresVersion = "another", 17
	if _, other, _ := known.Of(namesake); other != hash {
		t.Error("the configuration of an earlier cluster of the name is taken")
	}
}

func TestFewRenderingsAreKept(t *testing.T) {
	known := NewRenderings()
	for i := range 3 * mostRenderings {
		if _, _, err := known.Of(clustertest.Hippo(func(c *v1beta1.PostgresCluster) { c.UID = types.UID(fmt.Sprint(i)) })); err != nil {
			t.Fatal(err)
		}
	}
	if len(known.known) > mostRenderings {
		t.Errorf("%d are kept", len(known.known))
	}
}
