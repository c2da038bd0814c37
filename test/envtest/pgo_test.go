//go:build envtest

package envtest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/test/pgo"
)

const (
	apiVersionOfPGO = "apiVersion: postgres-operator.crunchydata.com/v1beta1\n"
	ourAPIVersion   = "apiVersion: pgtls.dev/v1beta1\n"
)

func TestExamplesOfCustomTLSAreAccepted(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "examples", "pgo", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d examples (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			wantAccepted(t, readFile(t, file))
		})
	}
}

func TestAManifestOfPGOIsAcceptedWithOnlyTheAPIVersionChanged(t *testing.T) {
	original := readFile(t, filepath.Join("..", "pgo", "testdata", "original.yaml"))
	if n := strings.Count(original, apiVersionOfPGO); n != 1 {
		t.Fatalf("the manifest has PGO's apiVersion %d times, want once", n)
	}
	wantAccepted(t, strings.Replace(original, apiVersionOfPGO, ourAPIVersion, 1))
}

// wantAccepted looks also whether the API server kept everything: what it dropped would not work.
func wantAccepted(t *testing.T, manifest string) {
	t.Helper()
	wanted := &unstructured.Unstructured{Object: parse(t, manifest)}
	wanted.SetNamespace("default")
	stored := wanted.DeepCopy()
	if err := tryCreate(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	if missing := missingIn(stored.Object["spec"], wanted.Object["spec"], "spec"); len(missing) > 0 {
		t.Errorf("the API server dropped %s", strings.Join(missing, ", "))
	}
}

func missingIn(stored, wanted any, path string) []string {
	var missing []string
	switch typed := wanted.(type) {
	case map[string]any:
		has, _ := stored.(map[string]any)
		for name, nested := range typed {
			missing = append(missing, missingIn(has[name], nested, path+"."+name)...)
		}
	case []any:
		has, _ := stored.([]any)
		if len(has) != len(typed) {
			return []string{path}
		}
		for i, nested := range typed {
			missing = append(missing, missingIn(has[i], nested, path+"[]")...)
		}
	default:
		if stored == nil {
			return []string{path}
		}
	}
	return missing
}

// fieldsOfPGO are the fields of PGO that pgtls does not have, with a value as PGO takes it.
var fieldsOfPGO = map[string]string{
	"spec.authentication":              `{rules: [{hba: "hostssl all all all md5"}]}`,
	"spec.backups":                     `{pgbackrest: {repos: [{name: repo1, volume: {volumeClaimSpec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}]}}`,
	"spec.config":                      `{files: [{secret: {name: ldap}}], parameters: {work_mem: 8MB}}`,
	"spec.dataSource":                  `{postgresCluster: {clusterName: elephant, repoName: repo1}}`,
	"spec.databaseInitSQL":             `{name: hippo-init, key: init.sql}`,
	"spec.disableDefaultPodScheduling": `true`,
	"spec.instrumentation":             `{logs: {retentionPeriod: 1 day}}`,
	"spec.monitoring":                  `{pgmonitor: {exporter: {}}}`,
	"spec.openshift":                   `false`,
	"spec.paused":                      `true`,
	"spec.port":                        `5432`,
	"spec.postGISVersion":              `"3.4"`,
	"spec.shutdown":                    `true`,
	"spec.standby":                     `{enabled: true, repoName: repo1}`,
	"spec.supplementalGroups":          `[65000]`,
	"spec.userInterface":               `{pgAdmin: {dataVolumeClaimSpec: {accessModes: [ReadWriteOnce]}}}`,

	"spec.instances[].containers":                `[{name: extra, image: extra}]`,
	"spec.instances[].minAvailable":              `50%`,
	"spec.instances[].priorityClassName":         `high`,
	"spec.instances[].sidecars":                  `{replicaCertCopy: {resources: {limits: {cpu: 200m}}}}`,
	"spec.instances[].tablespaceVolumes":         `[{name: fast, dataVolumeClaimSpec: {accessModes: [ReadWriteOnce]}}]`,
	"spec.instances[].topologySpreadConstraints": `[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]`,
	"spec.instances[].volumes":                   `{temp: {accessModes: [ReadWriteOnce]}}`,
	"spec.instances[].walVolumeClaimSpec":        `{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}`,

	"spec.patroni.logging":    `{storageLimit: 50M}`,
	"spec.patroni.port":       `8008`,
	"spec.patroni.switchover": `{enabled: true}`,

	"spec.proxy.pgBouncer.config.databases":          `{"*": host=elephant}`,
	"spec.proxy.pgBouncer.config.files":              `[{configMap: {name: more}}]`,
	"spec.proxy.pgBouncer.config.users":              `{rhino: pool_mode=session}`,
	"spec.proxy.pgBouncer.containers":                `[{name: extra, image: extra}]`,
	"spec.proxy.pgBouncer.minAvailable":              `1`,
	"spec.proxy.pgBouncer.priorityClassName":         `high`,
	"spec.proxy.pgBouncer.sidecars":                  `{pgbouncerConfig: {resources: {limits: {cpu: 200m}}}}`,
	"spec.proxy.pgBouncer.topologySpreadConstraints": `[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]`,
	"spec.proxy.pgBouncer.volumes":                   `{additional: [{name: more, claimName: more}]}`,

	"spec.proxy.pgBouncer.service.externalTrafficPolicy": `Local`,
	"spec.proxy.pgBouncer.service.internalTrafficPolicy": `Local`,
	"spec.proxy.pgBouncer.service.ipFamilyPolicy":        `PreferDualStack`,
	"spec.replicaService.externalTrafficPolicy":          `Local`,
	"spec.replicaService.internalTrafficPolicy":          `Local`,
	"spec.replicaService.ipFamilyPolicy":                 `PreferDualStack`,
	"spec.service.externalTrafficPolicy":                 `Local`,
	"spec.service.internalTrafficPolicy":                 `Local`,
	"spec.service.ipFamilyPolicy":                        `PreferDualStack`,

	"spec.users[].password": `{type: AlphaNumeric}`,
}

// Most clients do not ask for strict validation, and from theirs the API server drops what the schema does not know.
func TestFieldsOfPGOAreRefusedByNameForEveryClient(t *testing.T) {
	refused := refusedFields(t)
	for field, value := range fieldsOfPGO {
		t.Run(field, func(t *testing.T) {
			manifest := readManifest(t, "minimal.yaml", `spec: {users: [{name: rhino}]}`)
			setAt(manifest.Object, field, parse(t, "value: "+value)["value"])
			err := lenient.Create(t.Context(), manifest, client.DryRunAll)
			wantRefusal(t, err, refusal{strings.ReplaceAll(field, "[]", "[0]"), refused[field]})
			delete(refused, field)
		})
	}
	if len(refused) > 0 {
		t.Errorf("the CRD refuses more, which is not tried here: %v", slices.Sorted(maps.Keys(refused)))
	}
}

func TestEveryFieldOfPGOIsNamedAtOnce(t *testing.T) {
	manifest := readManifest(t, "minimal.yaml", `spec: {users: [{name: rhino}]}`)
	for field, value := range fieldsOfPGO {
		setAt(manifest.Object, field, parse(t, "value: "+value)["value"])
	}
	named := map[string]bool{}
	for _, cause := range causesOf(lenient.Create(t.Context(), manifest, client.DryRunAll)) {
		named[strings.ReplaceAll(cause.Field, "[0]", "[]")] = true
	}
	for field := range fieldsOfPGO {
		if !named[field] {
			t.Errorf("%s is not named when others are refused too", field)
		}
	}
}

// A value of another type than PGO's is refused as well, and not dropped.
func TestAFieldOfPGOWithAnotherTypeIsRefusedByName(t *testing.T) {
	manifest := readManifest(t, "minimal.yaml", `spec: {backups: none}`)
	err := lenient.Create(t.Context(), manifest, client.DryRunAll)
	wantRefusal(t, err, refusal{"spec.backups", `must be of type object: "string"`})
}

func refusedFields(t *testing.T) map[string]string {
	t.Helper()
	schema, err := pgo.ReadSchema(filepath.Join("..", "..", "config", "crd", "pgtls.dev_postgresclusters.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Refused()
}

// setAt puts a value at spec.instances[].x, in the first element of each list.
func setAt(in map[string]any, path string, value any) {
	name, rest, isNested := strings.Cut(path, ".")
	if !isNested {
		in[name] = value
		return
	}
	if list, isList := strings.CutSuffix(name, "[]"); isList {
		setAt(in[list].([]any)[0].(map[string]any), rest, value)
		return
	}
	nested, exists := in[name].(map[string]any)
	if !exists {
		nested = map[string]any{}
		in[name] = nested
	}
	setAt(nested, rest, value)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
