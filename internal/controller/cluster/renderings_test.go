package cluster

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/api/v1beta1"
)

func TestAConfigurationIsRenderedAnewForAChangedSpec(t *testing.T) {
	known, cluster := newRenderings(), hippo()
	config, hash, err := known.of(cluster)
	if err != nil {
		t.Fatal(err)
	}
	config.Data["patroni.yaml"] = "spoiled by its caller"
	if again, _, _ := known.of(cluster); again.Data["patroni.yaml"] == config.Data["patroni.yaml"] {
		t.Error("what a caller changed is remembered")
	}
	changed := cluster.DeepCopy()
	changed.Spec.PostgresVersion = 15
	if _, same, _ := known.of(changed); same != hash {
		t.Error("the configuration of one generation is rendered twice")
	}
	changed.Generation++
	if _, other, _ := known.of(changed); other == hash {
		t.Error("the configuration of an earlier spec is taken for that of a changed one")
	}
	namesake := changed.DeepCopy()
	namesake.UID, namesake.Spec.PostgresVersion = "another", 17
	if _, other, _ := known.of(namesake); other != hash {
		t.Error("the configuration of an earlier cluster of the name is taken")
	}
}

func TestFewRenderingsAreKept(t *testing.T) {
	known := newRenderings()
	for i := range 3 * mostRenderings {
		if _, _, err := known.of(hippo(func(c *v1beta1.PostgresCluster) { c.UID = types.UID(fmt.Sprint(i)) })); err != nil {
			t.Fatal(err)
		}
	}
	if len(known.known) > mostRenderings {
		t.Errorf("%d are kept", len(known.known))
	}
}
