// Package patroniyaml renders Patroni's configuration file and the SQL of a new cluster. It is pure.
//
// It stands apart from package patroni so that a program that only speaks the REST API links no YAML encoder.
package patroniyaml

import (
	_ "embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"

	"pgtls.dev/pgtls/internal/agentapi"
)

// Labels as Patroni is told to use them.
const (
	ScopeLabel   = "pgtls.dev/patroni"
	ClusterLabel = "pgtls.dev/cluster"
	RoleLabel    = "role"

	ReplicaLabelValue = "replica"
)

// Where the images and the operator's pods have things.
const (
	dataRoot          = "/pgdata"
	postBootstrapHook = "/usr/local/bin/post-bootstrap"
	passwordFile      = "/tmp/pgpass" // Patroni insists on writing one
	identMap          = "pgtls"
	replicationMap    = "pgtls_replication"
	superuser         = "postgres"
)

// Config is what differs between clusters. What differs between the pods of a cluster comes from their environment:
// PATRONI_NAME, PATRONI_KUBERNETES_POD_IP, PATRONI_POSTGRESQL_CONNECT_ADDRESS, PATRONI_RESTAPI_CONNECT_ADDRESS.
type Config struct {
	Scope     string // Patroni's scope, the value of ScopeLabel on the instances' pods
	Cluster   string // the value of ClusterLabel
	Namespace string

	// PrimaryLabel is the value of RoleLabel on the primary's pod. Patroni before 3.2 (3.0 of Debian bookworm) cannot
	// be told and always writes "master"; "master" therefore works with every Patroni.
	PrimaryLabel string

	PostgresVersion int    // major
	MinTLS          string // "1.2" or "1.3"

	LeaderLeaseSeconds int // ttl; 0 means 30
	SyncPeriodSeconds  int // loop_wait; 0 means 10

	// Dynamic configuration of the user, read only when the cluster is made; later changes go through the REST API.
	// Its keys win over the defaults, apart from those that are the operator's. With Bootstrap false it is left out.
	Dynamic   map[string]any
	Bootstrap bool
}

//go:embed post-bootstrap.sql
var postBootstrap string

// PostBootstrap is the SQL that makes the operator's roles in a new cluster, for the hook of the image.
func PostBootstrap() string { return postBootstrap }

var plainWord = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// Render returns patroni.yaml. Equal input gives equal bytes.
//
// Errors: a name that is no DNS label, a version that is not known.
func Render(c Config) (string, error) {
	for field, value := range map[string]string{"scope": c.Scope, "cluster": c.Cluster, "namespace": c.Namespace, "primary label": c.PrimaryLabel} {
		if !plainWord.MatchString(value) {
			return "", fmt.Errorf("rendering patroni.yaml: %s %q is no DNS label", field, value)
		}
	}
	if c.PostgresVersion < 13 || c.PostgresVersion > 99 {
		return "", fmt.Errorf("rendering patroni.yaml: PostgreSQL %d is not known", c.PostgresVersion)
	}
	if c.MinTLS != "1.2" && c.MinTLS != "1.3" {
		return "", fmt.Errorf("rendering patroni.yaml: minimum TLS version %q is neither 1.2 nor 1.3", c.MinTLS)
	}
	rest, err := encoded(object{
		"scope":      c.Scope,
		"kubernetes": kubernetes(c),
		"restapi":    restAPI(),
		"ctl":        control(),
		"postgresql": postgresql(c),
		"log":        object{"level": "INFO"},
		"tags":       object{},
	})
	if err != nil || !c.Bootstrap {
		return rest, err
	}
	first, err := encoded(object{"bootstrap": bootstrap(c)}) // its key sorts before the others
	return first + rest, err
}

func encoded(document object) (string, error) {
	text, err := yaml.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("rendering patroni.yaml: %w", err)
	}
	return string(text), nil
}

// WithoutBootstrap cuts the part that only the making of a new cluster reads off a rendered patroni.yaml: what is left is what Render returns
// where Bootstrap is false.
func WithoutBootstrap(text string) string {
	const next = "\nctl:"
	if i := strings.Index(text, next); i >= 0 && strings.HasPrefix(text, "bootstrap:") {
		return text[i+1:]
	}
	return text
}

type object = map[string]any

func current(name string) string { return path.Join(agentapi.CurrentDir, name) }

func kubernetes(c Config) object {
	return object{
		"namespace":                  c.Namespace,
		"labels":                     object{ClusterLabel: c.Cluster},
		"scope_label":                ScopeLabel,
		"role_label":                 RoleLabel,
		"leader_label_value":         c.PrimaryLabel,
		"follower_label_value":       ReplicaLabelValue,
		"standby_leader_label_value": c.PrimaryLabel,
		"use_endpoints":              false,
	}
}

// restAPI is reachable by the agent alone. It speaks TLS there so that Patroni announces https to the other members.
func restAPI() object {
	return object{
		"listen":   fmt.Sprintf("127.0.0.1:%d", agentapi.PatroniLoopbackPort),
		"certfile": agentapi.LoopbackCertificate,
		"keyfile":  agentapi.LoopbackKey,
	}
}

// control is how Patroni calls the REST API of other members: it reads the files at each connection.
func control() object {
	return object{
		"cacert":   current(agentapi.ServerBundle),
		"certfile": current(agentapi.ClientCertificate),
		"keyfile":  current(agentapi.ClientKey),
	}
}

func postgresql(c Config) object {
	return object{
		"listen":               fmt.Sprintf("*:%d", agentapi.PostgresPort),
		"data_dir":             dataDir(c.PostgresVersion),
		"bin_dir":              fmt.Sprintf("/usr/lib/postgresql/%d/bin", c.PostgresVersion),
		"pgpass":               passwordFile,
		"use_unix_socket":      true,
		"use_unix_socket_repl": true,
		"parameters":           parameters(c),
		"custom_conf":          baseFile,
		"pg_hba":               hostBasedAuthentication(),
		"pg_ident":             identities(),
		"authentication": object{
			"superuser":   object{"username": superuser},
			"replication": replicationLogin(),
			"rewind":      replicationLogin(),
		},
		// pg_basebackup would wait for the next spread checkpoint, which may be minutes away.
		"basebackup": []any{map[string]any{"checkpoint": "fast"}},
		"remove_data_directory_on_diverged_timelines": true,
		"remove_data_directory_on_rewind_failure":     true,
	}
}

// parameters in the local file win over the dynamic configuration: they are the operator's.
func parameters(c Config) object {
	return object{
		"unix_socket_directories":  agentapi.SocketDir,
		"ssl":                      "on",
		"ssl_cert_file":            current(agentapi.ServedCertificate),
		"ssl_key_file":             current(agentapi.ServedKey),
		"ssl_ca_file":              current(agentapi.ClientBundle),
		"ssl_min_protocol_version": "TLSv" + c.MinTLS,
		"password_encryption":      "scram-sha-256",
		// The agent reads the log, copies it to its own standard output and keeps it small, see ADR 0011.
		"logging_collector":        "on",
		"log_destination":          "stderr",
		"log_directory":            agentapi.LogDir,
		"log_filename":             path.Base(agentapi.PostgresLog),
		"log_file_mode":            "0600",
		"log_rotation_age":         "0",
		"log_rotation_size":        "0",
		"log_truncate_on_rotation": "off",
		"lc_messages":              "C",
	}
}

// replicationLogin proves itself by certificate, so there is no password. It wants a server whose certificate the bundle
// accepts, and does not look at names: a custom certificate names Services and no pods (ADR 0016).
func replicationLogin() object {
	return object{
		"username":    agentapi.ReplicationIdentity,
		"sslmode":     "verify-ca",
		"sslrootcert": current(agentapi.ServerBundle),
		"sslcert":     current(agentapi.PresentedCertificate),
		"sslkey":      current(agentapi.PresentedKey),
	}
}

// identities map certificates and accounts to roles: the database server's own user over the socket, and a replica by the common name of its certificate.
func identities() []string {
	lines := []string{identMap + " postgres " + superuser, identMap + " postgres " + agentapi.ReplicationIdentity}
	for _, name := range agentapi.ReplicationNames() {
		lines = append(lines, replicationMap+" "+name+" "+agentapi.ReplicationIdentity)
	}
	return lines
}

// hostBasedAuthentication has no line that matches a connection without TLS, and accepts the operator's own roles by
// certificate alone: the lines that reject them keep the last lines from asking them for a password.
func hostBasedAuthentication() []string {
	const operator, replication, pooler = agentapi.OperatorIdentity, agentapi.ReplicationIdentity, agentapi.PGBouncerIdentity
	const internal = operator + "," + replication + "," + pooler
	return []string{
		"local all " + superuser + "," + replication + " peer map=" + identMap,
		"local replication " + superuser + "," + replication + " peer map=" + identMap,
		"hostssl all " + operator + " all cert",
		"hostssl replication " + replication + " all cert map=" + replicationMap,
		"hostssl postgres " + replication + " all cert map=" + replicationMap,
		"hostssl postgres " + pooler + " all cert",
		"hostssl all " + internal + " all reject",
		"hostssl replication " + internal + " all reject",
		// A role that becomes a member has no other way in from then on, and no file has to change for it.
		"hostssl all +" + agentapi.CertificateRole + " all cert",
		"hostssl all all all scram-sha-256",
	}
}

// bootstrap is read once, by the first instance of a new cluster.
func bootstrap(c Config) object {
	return object{
		"dcs":            dynamic(c),
		"initdb":         []any{"data-checksums", object{"encoding": "UTF8"}, object{"locale": "C.UTF-8"}, object{"auth-local": "peer"}, object{"auth-host": "reject"}},
		"post_bootstrap": postBootstrapHook,
	}
}

func dynamic(c Config) object {
	merged := object{
		"ttl":                     orDefault(c.LeaderLeaseSeconds, 30),
		"loop_wait":               orDefault(c.SyncPeriodSeconds, 10),
		"retry_timeout":           10,
		"maximum_lag_on_failover": 1 << 20,
		"postgresql": object{
			"use_pg_rewind": true,
			"use_slots":     true,
			"parameters":    object{},
		},
	}
	return merge(merged, c.Dynamic)
}

// merge returns base with everything that over has; objects are merged, anything else is replaced.
func merge(base, over object) object {
	merged := maps.Clone(base)
	for key, value := range over {
		inner, isObject := value.(object)
		baseInner, wasObject := merged[key].(object)
		if isObject && wasObject {
			value = merge(baseInner, inner)
		}
		merged[key] = value
	}
	return merged
}

func orDefault(value, fallback int) int {
	if value == 0 {
		return fallback
	}
	return value
}
