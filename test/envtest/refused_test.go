//go:build envtest

package envtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// refusal is one line of what the API server answers: the field and what is
// said of it, which must be the fact and the remedy.
type refusal struct {
	field, says string
}

var refusedOnCreate = []struct {
	name  string
	patch string // merged into minimal.yaml
	want  refusal
}{
	{"name too long", `metadata: {name: a23456789-123456789-123456789-1234567}`,
		refusal{"", "metadata.name: a23456789-123456789-123456789-1234567 is longer than the 36 characters that names made from it have room for; choose a shorter name"}},
	{"name too long for the default user", `metadata: {name: a23456789-123456789-123456789-123}`,
		refusal{"", "is too long for the user made by default, which has room for 32 characters; choose a shorter name or set spec.users"}},
	{"name starts with a digit", `metadata: {name: 1hippo}`,
		refusal{"", "metadata.name: 1hippo is no DNS label that starts with a letter, and Services are named after it; use lower-case letters, digits and -"}},
	{"name with a dot", `metadata: {name: hippo.zoo}`,
		refusal{"", "metadata.name: hippo.zoo is no DNS label"}},
	{"name reserved for the default user", `metadata: {name: postgres}`,
		refusal{"", "metadata.name: postgres is reserved in PostgreSQL, and the user and database made by default have the name of the cluster; choose another name or set spec.users"}},

	{"version unknown", `spec: {postgresVersion: 16}`,
		refusal{"spec.postgresVersion", `Unsupported value: 16: supported values: "15", "17"`}},
	{"version missing", `spec: {postgresVersion: null}`,
		refusal{"spec.postgresVersion", "Required value"}},
	{"image with a space", `spec: {image: "postgres 17"}`,
		refusal{"spec.image", `postgres 17 contains white space; write the reference as for docker pull`}},
	{"pull policy unknown", `spec: {imagePullPolicy: Sometimes}`,
		refusal{"spec.imagePullPolicy", `Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`}},

	{"no instances", `spec: {instances: []}`,
		refusal{"spec.instances", "should have at least 1 items"}},
	{"too many replicas in a set", `spec: {instances: [` + set("a", "replicas: 51") + `]}`,
		refusal{"spec.instances[0].replicas", "51: spec.instances[0].replicas in body should be less than or equal to 50"}},
	{"no replicas in a set", `spec: {instances: [` + set("a", "replicas: 0") + `]}`,
		refusal{"spec.instances[0].replicas", "should be greater than or equal to 1"}},
	{"too many replicas in all sets", `spec: {instances: [` + set("a", "replicas: 30") + `, ` + set("b", "replicas: 21") + `]}`,
		refusal{"spec.instances", "more than 50 replicas in all sets together; lower replicas"}},
	{"two sets of one name", `spec: {instances: [` + set("a", "") + `, ` + set("a", "") + `]}`,
		refusal{"spec.instances[1]", `Duplicate value: {"name":"a"}`}},
	{"set name too long", `spec: {instances: [` + set("a123456789-12", "") + `]}`,
		refusal{"spec.instances[0].name", "Too long: may not be more than 12 bytes"}},
	{"set name in capitals", `spec: {instances: [` + set("Fast", "") + `]}`,
		refusal{"spec.instances[0].name", `Fast is no DNS label, and pods are named after it; use lower-case letters, digits and, inside, -`}},

	{"volume without mode", `spec: {instances: [{name: a, dataVolumeClaimSpec: {resources: {requests: {storage: 1Gi}}}}]}`,
		refusal{"spec.instances[0].dataVolumeClaimSpec.accessModes", "must begin with a mode that can be written; set [ReadWriteOnce]"}},
	{"volume that cannot be written", `spec: {instances: [{name: a, dataVolumeClaimSpec: {accessModes: [ReadOnlyMany], resources: {requests: {storage: 1Gi}}}}]}`,
		refusal{"spec.instances[0].dataVolumeClaimSpec.accessModes", "must begin with a mode that can be written; set [ReadWriteOnce]"}},
	{"volume without size", `spec: {instances: [{name: a, dataVolumeClaimSpec: {accessModes: [ReadWriteOnce]}}]}`,
		refusal{"spec.instances[0].dataVolumeClaimSpec", "resources.requests.storage is missing; set a size such as 1Gi"}},
	{"volume of size zero", `spec: {instances: [{name: a, dataVolumeClaimSpec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: "0"}}}}]}`,
		refusal{"spec.instances[0].dataVolumeClaimSpec", "resources.requests.storage is no size; write it as 1Gi"}},
	{"volume of blocks", `spec: {instances: [{name: a, dataVolumeClaimSpec: {volumeMode: Block, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}`,
		refusal{"spec.instances[0].dataVolumeClaimSpec.volumeMode", "Block cannot hold a data directory; remove it or set Filesystem"}},

	{"label of the operator", `spec: {metadata: {labels: {pgtls.dev/cluster: other}}}`,
		refusal{"spec.metadata.labels", "keys under pgtls.dev/ and the key role belong to the operator; use another key"}},
	{"label of Patroni", `spec: {service: {metadata: {labels: {role: primary}}}}`,
		refusal{"spec.service.metadata.labels", "keys under pgtls.dev/ and the key role belong to the operator; use another key"}},
	{"label too long", `spec: {metadata: {labels: {team: ` + strings.Repeat("x", 64) + `}}}`,
		refusal{"spec.metadata.labels", "a value is longer than the 63 characters of a label; shorten it, or make it an annotation"}},
	{"annotation of the operator", `spec: {metadata: {annotations: {pgtls.dev/activate: now}}}`,
		refusal{"spec.metadata.annotations", "keys under pgtls.dev/ belong to the operator; use another key"}},

	{"user reserved in PostgreSQL", `spec: {users: [{name: postgres}]}`,
		refusal{"spec.users[0].name", "postgres is reserved, as are postgres, pgbouncer, public, none and what starts with pg-; use another name"}},
	{"user reserved in PgBouncer", `spec: {users: [{name: pgbouncer}]}`,
		refusal{"spec.users[0].name", "pgbouncer is reserved"}},
	{"user with an underscore", `spec: {users: [{name: my_user}]}`,
		refusal{"spec.users[0].name", `my_user is no DNS label, and the Secret <cluster>-pguser-<name> is named after it; use lower-case letters, digits and, inside, -`}},
	{"two users of one name", `spec: {users: [{name: a}, {name: a}]}`,
		refusal{"spec.users[1]", `Duplicate value: {"name":"a"}`}},
	{"database reserved", `spec: {users: [{name: a, databases: [template1]}]}`,
		refusal{"spec.users[0].databases[0]", "template1 is reserved, as are template0, template1 and pgbouncer; use another name"}},
	{"database of two lines", `spec: {users: [{name: a, databases: ["a\nb"]}]}`,
		refusal{"spec.users[0].databases[0]", "contains a control character; remove it"}},
	{"database named twice", `spec: {users: [{name: a, databases: [b, b]}]}`,
		refusal{"spec.users[0].databases[1]", `Duplicate value: "b"`}},
	{"options with a password", `spec: {users: [{name: a, options: "Password x"}]}`,
		refusal{"spec.users[0].options", "PASSWORD cannot be set here; write it to the key password of the Secret <cluster>-pguser-<name>"}},
	{"options with SQL", `spec: {users: [{name: a, options: "CREATEDB; DROP"}]}`,
		refusal{"spec.users[0].options", "CREATEDB; DROP has more than words, and role attributes are words such as CREATEDB; remove quotes and punctuation"}},

	{"client certificate whose Secret is another user's", `spec: {users: [{name: a, clientCertificate: {}}, {name: a-cert}]}`,
		refusal{"spec.users", "a user has a clientCertificate, and another is named after the first with -cert: both would have the same Secret; rename one"}},
	{"client certificate that outlives a third of its authority", `spec: {tls: {client: {authority: {duration: 2000h}}}, users: [{name: a}, {name: b, clientCertificate: {}}]}`,
		refusal{"spec.users", "tls.client.authority.duration is less than 3 times a user's clientCertificate.duration (one that is not given has its default)"}},
	{"client certificate renewed for ever", `spec: {users: [{name: a, clientCertificate: {duration: 1h, renewBefore: 1h}}]}`,
		refusal{"spec.users[0].clientCertificate.renewBefore", "1h leaves less than 30s of duration 1h, the certificate would be renewed for ever; shorten renewBefore or lengthen duration"}},
	{"client certificate revoked at no time", `spec: {users: [{name: a, clientCertificate: {revokeIssuedBefore: now}}]}`,
		refusal{"spec.users[0].clientCertificate.revokeIssuedBefore", "must be of type date-time"}},
	{"client certificate with Ed25519", `spec: {users: [{name: a, clientCertificate: {keyAlgorithm: Ed25519}}]}`,
		refusal{"spec.users[0].clientCertificate.keyAlgorithm", `Unsupported value: "Ed25519"`}},

	{"lease too short", `spec: {patroni: {leaderLeaseDurationSeconds: 1}}`,
		refusal{"spec.patroni.leaderLeaseDurationSeconds", "should be greater than or equal to 3"}},
	{"dynamic configuration no map", `spec: {patroni: {dynamicConfiguration: "postgresql"}}`,
		refusal{"spec.patroni.dynamicConfiguration", `must be of type object: "string"`}},

	{"pooler on the agent's port", `spec: {proxy: {pgBouncer: {port: 8443}}}`,
		refusal{"spec.proxy.pgBouncer.port", "8443 is the port of the agent in the same pod; use another port"}},
	{"pooler on a privileged port", `spec: {proxy: {pgBouncer: {port: 443}}}`,
		refusal{"spec.proxy.pgBouncer.port", "443: spec.proxy.pgBouncer.port in body should be greater than or equal to 1024"}},
	{"proxy without PgBouncer", `spec: {proxy: {}}`,
		refusal{"spec.proxy.pgBouncer", "Required value"}},
	{"pooler with its own TLS", `spec: {proxy: {pgBouncer: {config: {global: {client_tls_sslmode: disable}}}}}`,
		refusal{"spec.proxy.pgBouncer.config.global", "TLS, authentication, listening and process settings belong to the operator; remove keys such as client_tls_*"}},
	{"pooler with its own authentication", `spec: {proxy: {pgBouncer: {config: {global: {auth_type: any}}}}}`,
		refusal{"spec.proxy.pgBouncer.config.global", "belong to the operator"}},
	{"pooler setting of two lines", `spec: {proxy: {pgBouncer: {config: {global: {pool_mode: "session\n[databases]"}}}}}`,
		refusal{"spec.proxy.pgBouncer.config.global", "a value has more than one line; write one line"}},
	{"pooler setting that is none", `spec: {proxy: {pgBouncer: {config: {global: {"[users]": x}}}}}`,
		refusal{"spec.proxy.pgBouncer.config.global", "a key is no name of a setting; use lower-case letters and '_'"}},
	{"pool mode unknown", `spec: {proxy: {pgBouncer: {config: {global: {pool_mode: query}}}}}`,
		refusal{"spec.proxy.pgBouncer.config.global", "pool_mode is none that PgBouncer has; set session, transaction or statement"}},

	{"node port without its type", `spec: {service: {nodePort: 30432}}`,
		refusal{"spec.service.nodePort", "a Service of type ClusterIP has no node port; set type NodePort or LoadBalancer, or remove nodePort"}},
	{"one node port twice", `spec: {service: {type: NodePort, nodePort: 30432}, replicaService: {type: NodePort, nodePort: 30432}}`,
		refusal{"spec.replicaService.nodePort", "is the nodePort of spec.service too; choose another"}},
	{"service type unknown", `spec: {service: {type: ExternalName}}`,
		refusal{"spec.service.type", `Unsupported value: "ExternalName": supported values: "ClusterIP", "NodePort", "LoadBalancer"`}},

	{"TLS version out of use", `spec: {tls: {minimumVersion: "1.1"}}`,
		refusal{"spec.tls.minimumVersion", `Unsupported value: "1.1": supported values: "1.2", "1.3"`}},
	{"key algorithm that breaks SCRAM", `spec: {tls: {server: {instances: {keyAlgorithm: Ed25519}}}}`,
		refusal{"spec.tls.server.instances.keyAlgorithm", `Unsupported value: "Ed25519": supported values: "ECDSA-P256", "ECDSA-P384", "RSA-2048", "RSA-3072", "RSA-4096"`}},
	{"window of four fields", rotation(`windows: [{schedule: "0 2 * *", duration: 4h}]`),
		refusal{"spec.tls.rotation.windows[0].schedule", "0 2 * * is no schedule; write the five fields of cron with one space between, such as 0 2 * * 6,0 for Saturday and Sunday at 2"}},
	{"window of six fields", rotation(`windows: [{schedule: "0 0 2 * * *", duration: 4h}]`),
		refusal{"spec.tls.rotation.windows[0].schedule", "0 0 2 * * * is no schedule"}},
	{"window by a word", rotation(`windows: [{schedule: "@daily", duration: 4h}]`),
		refusal{"spec.tls.rotation.windows[0].schedule", "@daily is no schedule"}},
	{"window with its zone in the schedule", rotation(`windows: [{schedule: "0 2 * * *", duration: 4h}, {schedule: "TZ=UTC 2 * * *", duration: 4h}]`),
		refusal{"spec.tls.rotation.windows[1].schedule", "TZ=UTC 2 * * * is no schedule"}},
	{"window without schedule", rotation(`windows: [{duration: 4h}]`),
		refusal{"spec.tls.rotation.windows[0].schedule", "Required value"}},
	{"window without duration", rotation(`windows: [{schedule: "0 2 * * *"}]`),
		refusal{"spec.tls.rotation.windows[0].duration", "Required value"}},
	{"window that is never open", rotation(`windows: [{schedule: "0 2 * * *", duration: 0h}]`),
		refusal{"spec.tls.rotation.windows[0].duration", "0h is out of range; choose between 1m and 175200h, which is 20 years"}},
	{"window of days", rotation(`windows: [{schedule: "0 2 * * *", duration: 2d}]`),
		refusal{"spec.tls.rotation.windows[0].duration", "2d is no length of time; write hours, minutes and seconds"}},
	{"window in a zone with a space", rotation(`windows: [{schedule: "0 2 * * *", duration: 4h, timeZone: "Europe Berlin"}]`),
		refusal{"spec.tls.rotation.windows[0].timeZone", "Europe Berlin is no name of a time zone; write one such as Europe/Berlin or UTC"}},
	{"nine windows", rotation(`windows: [` + strings.Repeat(`{schedule: "0 2 * * *", duration: 4h}, `, 9) + `]`),
		refusal{"spec.tls.rotation.windows", "must have at most 8 items"}},
	{"urgent in days", rotation(`urgentBefore: 3d`),
		refusal{"spec.tls.rotation.urgentBefore", "3d is no length of time"}},
	{"never urgent", rotation(`urgentBefore: 0s`),
		refusal{"spec.tls.rotation.urgentBefore", "0s is out of range"}},
	{"duration in days", `spec: {tls: {client: {replication: {duration: 30d}}}}`,
		refusal{"spec.tls.client.replication.duration", "30d is no length of time; write hours, minutes and seconds such as 2160h or 1h30m, days as hours"}},
	{"duration empty", `spec: {tls: {client: {replication: {duration: ""}}}}`,
		refusal{"spec.tls.client.replication.duration", "is no length of time"}},
	{"duration too short", `spec: {tls: {server: {pgBouncer: {duration: 59s}}}}`,
		refusal{"spec.tls.server.pgBouncer.duration", "59s is out of range; choose between 1m and 175200h, which is 20 years"}},
	{"duration too long", `spec: {tls: {server: {authority: {duration: 175201h}}}}`,
		refusal{"spec.tls.server.authority.duration", "175201h is out of range; choose between 1m and 175200h, which is 20 years"}},
	{"renewal before the beginning", `spec: {tls: {server: {instances: {duration: 24h, renewBefore: 24h}}}}`,
		refusal{"spec.tls.server.instances.renewBefore", "24h leaves less than 30s of duration 24h, the certificate would be renewed for ever; shorten renewBefore or lengthen duration"}},
	{"renewal without duration", `spec: {tls: {client: {operator: {renewBefore: 1h}}}}`,
		refusal{"spec.tls.client.operator.renewBefore", "1h is set without duration; set both or neither"}},
	{"authority as short as its leaf", `spec: {tls: {server: {authority: {duration: 48h}, instances: {duration: 24h}, pgBouncer: {duration: 1h}}}}`,
		refusal{"spec.tls.server", "authority.duration is less than 3 times instances.duration (one that is not given has its default), authority and leaves would be replaced together; lengthen the authority or shorten the leaf"}},
	{"authority shorter than the default leaf", `spec: {tls: {server: {authority: {duration: 2160h}, instances: {duration: 24h}}}}`,
		refusal{"spec.tls.server", "authority.duration is less than 3 times pgBouncer.duration"}},
	{"leaf longer than the default authority", `spec: {tls: {client: {replication: {duration: 8760h}}}}`,
		refusal{"spec.tls.client", "authority.duration is less than 3 times replication.duration"}},
	{"authority shorter than the pooler's client leaf", `spec: {tls: {client: {authority: {duration: 2160h}, pgBouncer: {duration: 721h}}}}`,
		refusal{"spec.tls.client", "authority.duration is less than 3 times pgBouncer.duration"}},
	{"authority shorter than the operator's leaf", `spec: {tls: {client: {authority: {duration: 2160h}, operator: {duration: 721h}}}}`,
		refusal{"spec.tls.client", "authority.duration is less than 3 times operator.duration"}},
	{"name with a trailing dot", `spec: {tls: {server: {instances: {dnsNames: [db.example.org.]}}}}`,
		refusal{"spec.tls.server.instances.dnsNames[0]", `db.example.org. is no DNS name that TLS clients accept; remove a trailing dot, a "*" may only be the whole first label`}},
	{"wildcard inside a name", `spec: {tls: {server: {pgBouncer: {dnsNames: ["db.*.org"]}}}}`,
		refusal{"spec.tls.server.pgBouncer.dnsNames[0]", "db.*.org is no DNS name that TLS clients accept"}},
	{"address among the names", `spec: {tls: {server: {instances: {dnsNames: [192.0.2.1]}}}}`,
		refusal{"spec.tls.server.instances.dnsNames[0]", "192.0.2.1 is an IP address; move it to ipAddresses"}},
	{"name among the addresses", `spec: {tls: {server: {instances: {ipAddresses: [db.example.org]}}}}`,
		refusal{"spec.tls.server.instances.ipAddresses[0]", "db.example.org is no IP address; write it without prefix length and port, a name belongs in dnsNames"}},
	{"address with a prefix length", `spec: {tls: {server: {instances: {ipAddresses: [192.0.2.0/24]}}}}`,
		refusal{"spec.tls.server.instances.ipAddresses[0]", "192.0.2.0/24 is no IP address"}},
}

func rotation(field string) string { return `spec: {tls: {rotation: {` + field + `}}}` }

// set is one instance set in YAML flow style, with more fields in front.
func set(name, more string) string {
	if more != "" {
		more = ", " + more
	}
	return `{name: ` + name + more + `, dataVolumeClaimSpec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`
}

func TestRefusedOnCreate(t *testing.T) {
	for _, tc := range refusedOnCreate {
		t.Run(tc.name, func(t *testing.T) {
			wantRefusal(t, tryCreate(t.Context(), readManifest(t, "minimal.yaml", tc.patch)), tc.want)
		})
	}
}

func TestUnknownFieldIsNamed(t *testing.T) {
	for patch, field := range map[string]string{
		`spec: {standBy: {enabled: true}}`:                        "spec.standBy",
		`spec: {tls: {server: {instances: {durations: 24h}}}}`:    "spec.tls.server.instances.durations",
		`spec: {proxy: {pgBouncer: {config: {peers: {a: "b"}}}}}`: "spec.proxy.pgBouncer.config.peers",
		`spec: {users: [{name: a, secretName: b}]}`:               "spec.users[0].secretName",
	} {
		t.Run(field, func(t *testing.T) {
			err := tryCreate(t.Context(), readManifest(t, "minimal.yaml", patch))
			want := fmt.Sprintf("unknown field %q", field)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %s", err, want)
			}
		})
	}
}

var refusedOnUpdate = []struct {
	name  string
	patch string
	want  refusal
}{
	{"other major version", `spec: {postgresVersion: 15}`,
		refusal{"spec.postgresVersion", "cannot change, pgtls does no major upgrade; create a new cluster with the new version and move the data"}},
	{"smaller volume", volume(`storage: 512Mi`, ``),
		refusal{"spec.instances[0].dataVolumeClaimSpec", "resources.requests.storage cannot shrink from 1Gi to 512Mi, no volume does; add a smaller instance set, then remove this one"}},
	{"other storage class", volume(`storage: 1Gi`, `storageClassName: other, `),
		refusal{"spec.instances[0].dataVolumeClaimSpec.storageClassName", "cannot change, a volume stays in its class; add an instance set with the new class, then remove this one"}},
	{"other access mode", `spec: {instances: [{name: "00", dataVolumeClaimSpec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}}]}`,
		refusal{"spec.instances[0].dataVolumeClaimSpec.accessModes", "cannot change, a volume keeps its modes; add an instance set with the new modes, then remove this one"}},
}

var acceptedOnUpdate = []struct{ name, patch string }{
	{"larger volume", volume(`storage: 1.5Gi`, ``)},
	{"same size in other words", volume(`storage: 1024Mi`, ``)},
	{"another set in front", `spec: {instances: [` + set("new", "") + `, ` + set(`"00"`, "") + `]}`},
	{"the set replaced by another", `spec: {instances: [` + set("new", "") + `]}`},
	{"windows, in a pause", `spec: {tls: {rotation: {paused: true, urgentBefore: 72h, windows: [{schedule: "0 2 * * 6,0", duration: 4h, timeZone: Europe/Berlin}]}}}`},
	{"windows in other words", `spec: {tls: {rotation: {windows: [{schedule: "*/30 0-5/2 1,15 JAN-MAR SUN", duration: 90m, timeZone: America/Port-au-Prince}, {schedule: "0 3 * * *", duration: 2h, timeZone: Etc/GMT+5}]}}}`},
	{"new names and lives", `spec: {tls: {server: {instances: {duration: 24h, dnsNames: [db.example.org]}}}}`},
}

// volume is a change of minimal.yaml's only volume.
func volume(request, more string) string {
	return `spec: {instances: [{name: "00", dataVolumeClaimSpec: {` + more + `accessModes: [ReadWriteOnce], resources: {requests: {` + request + `}}}}]}`
}

func TestUpdate(t *testing.T) {
	ctx := t.Context()
	stored := readManifest(t, "minimal.yaml", `metadata: {name: stored}`)
	if err := cluster.Create(ctx, stored); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Delete(context.WithoutCancel(ctx), stored); err != nil {
			t.Error(err)
		}
	})
	for _, tc := range refusedOnUpdate {
		t.Run(tc.name, func(t *testing.T) {
			wantRefusal(t, tryUpdate(ctx, t, stored, tc.patch), tc.want)
		})
	}
	for _, tc := range acceptedOnUpdate {
		t.Run(tc.name, func(t *testing.T) {
			if err := tryUpdate(ctx, t, stored, tc.patch); err != nil {
				t.Error(err)
			}
		})
	}
}

func tryUpdate(ctx context.Context, t *testing.T, stored *unstructured.Unstructured, patch string) error {
	t.Helper()
	changed := stored.DeepCopy()
	merge(changed.Object, parse(t, patch))
	return cluster.Update(ctx, changed, client.DryRunAll)
}

func wantRefusal(t *testing.T, err error, want refusal) {
	t.Helper()
	causes := causesOf(err)
	for _, cause := range causes {
		if (want.field == "" || cause.Field == want.field) && strings.Contains(cause.Message, want.says) {
			wantOneLine(t, cause.Message)
			return
		}
	}
	t.Errorf("want %s: %s\ngot %d causes of %v", want.field, want.says, len(causes), err)
	for _, cause := range causes {
		t.Logf("%s: %s", cause.Field, cause.Message)
	}
}

func wantOneLine(t *testing.T, message string) {
	t.Helper()
	if strings.Contains(message, "\n") {
		t.Errorf("more than one line: %q", message)
	}
}

func causesOf(err error) []metav1.StatusCause {
	var refused *apierrors.StatusError
	if !errors.As(err, &refused) || refused.ErrStatus.Details == nil {
		return nil
	}
	return refused.ErrStatus.Details.Causes
}
