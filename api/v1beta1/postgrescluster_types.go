package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PostgresCluster is a Patroni-managed PostgreSQL with PgBouncer in front whose
// certificates pgtls issues, deploys, proves on the wire and renews.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=postgresclusters,singular=postgrescluster,shortName=pgc,categories=all
// +kubebuilder:printcolumn:name="Version",type=integer,JSONPath=`.spec.postgresVersion`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.readyInstances`
// +kubebuilder:printcolumn:name="TLS",type=string,JSONPath=`.status.tls.state`
// +kubebuilder:printcolumn:name="Next Renewal",type=string,JSONPath=`.status.tls.nextRenewal`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 36",messageExpression="'metadata.name: ' + self.metadata.name + ' is longer than the 36 characters that names made from it have room for; choose a shorter name'"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",messageExpression="'metadata.name: ' + self.metadata.name + ' is no DNS label that starts with a letter, and Services are named after it; use lower-case letters, digits and -'"
// +kubebuilder:validation:XValidation:rule="size(self.spec.?users.orValue([])) > 0 || !(self.metadata.name in ['postgres','pgbouncer','public','none','template0','template1'] || self.metadata.name.startsWith('pg-'))",messageExpression="'metadata.name: ' + self.metadata.name + ' is reserved in PostgreSQL, and the user and database made by default have the name of the cluster; choose another name or set spec.users'"
// +kubebuilder:validation:XValidation:rule="size(self.spec.?users.orValue([])) > 0 || size(self.metadata.name) <= 32",messageExpression="'metadata.name: ' + self.metadata.name + ' is too long for the user made by default, which has room for 32 characters; choose a shorter name or set spec.users'"
type PostgresCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec PostgresClusterSpec `json:"spec"`
	// +optional
	Status PostgresClusterStatus `json:"status,omitempty"`
}

// PostgresClusterList is a list of PostgresCluster.
//
// +kubebuilder:object:root=true
type PostgresClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PostgresCluster `json:"items"`
}

// PostgresClusterSpec is what the user wants.
//
// +kubebuilder:validation:XValidation:rule="self.instances.map(i, i.?replicas.orValue(1)).sum() <= 50",fieldPath=".instances",message="more than 50 replicas in all sets together; lower replicas"
// +kubebuilder:validation:XValidation:rule="!has(self.service) || !has(self.service.nodePort) || !has(self.replicaService) || !has(self.replicaService.nodePort) || self.service.nodePort != self.replicaService.nodePort",fieldPath=".replicaService.nodePort",message="is the nodePort of spec.service too; choose another"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || !has(self.tls.server) || !has(self.tls.server.issuerRef) || !has(self.customTLSSecret)",fieldPath=".customTLSSecret",message="stands beside spec.tls.server.issuerRef, and PostgreSQL serves one certificate; remove one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || !has(self.tls.client) || !has(self.tls.client.issuerRef) || !has(self.customReplicationTLSSecret)",fieldPath=".customReplicationTLSSecret",message="stands beside spec.tls.client.issuerRef, and replicas present one certificate; remove one of them"
//
// +kubebuilder:validation:XValidation:rule="!has(self.users) || !self.users.exists(u, has(u.clientCertificate) && self.users.exists(v, v.name == u.name + '-cert'))",fieldPath=".users",message="a user has a clientCertificate, and another is named after the first with -cert: both would have the same Secret; rename one"
// +kubebuilder:validation:XValidation:rule="!has(self.users) || [self.?tls.?client.?authority.?duration.orValue('17520h')].exists(a, !a.matches('^([0-9]{1,6}[hms])+$') || self.users.all(u, [u.?clientCertificate.?duration.orValue('720h')].exists(d, !d.matches('^([0-9]{1,6}[hms])+$') || duration(a).getSeconds() >= 3 * duration(d).getSeconds())))",fieldPath=".users",message="tls.client.authority.duration is less than 3 times a user's clientCertificate.duration (one that is not given has its default), authority and leaves would be replaced together; lengthen the authority or shorten the leaf"
type PostgresClusterSpec struct {
	PGOClusterFields `json:",inline"`

	// PostgresVersion is the major version of PostgreSQL.
	// +kubebuilder:validation:Enum=15;17
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot change, pgtls does no major upgrade; create a new cluster with the new version and move the data"
	PostgresVersion int `json:"postgresVersion"`

	// Image runs PostgreSQL and Patroni. By default the operator's image for PostgresVersion.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^ \\t\\n\\r]*$')",messageExpression="self + ' contains white space; write the reference as for docker pull, such as registry.example/postgres:17'"
	Image string `json:"image,omitempty"`

	// ImagePullPolicy of every container of the cluster.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// ImagePullSecrets for every pod of the cluster.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Instances are the sets of PostgreSQL instances. One of all the instances is the primary.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=6
	Instances []InstanceSetSpec `json:"instances"`

	// Users and their databases. By default one user and one database named after the cluster.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Users []UserSpec `json:"users,omitempty"`

	// Patroni settings.
	// +optional
	Patroni *PatroniSpec `json:"patroni,omitempty"`

	// Proxy in front of PostgreSQL. Without it there is none.
	// +optional
	Proxy *ProxySpec `json:"proxy,omitempty"`

	// Service is the Service for the primary, <cluster>-primary.
	// +optional
	Service *ServiceSpec `json:"service,omitempty"`

	// ReplicaService is the Service for the replicas, <cluster>-replicas.
	// +optional
	ReplicaService *ServiceSpec `json:"replicaService,omitempty"`

	// Metadata is added to every object of the cluster.
	// +optional
	Metadata *Metadata `json:"metadata,omitempty"`

	// TLS: lives, keys and names of certificates.
	// +optional
	TLS *TLSSpec `json:"tls,omitempty"`

	// CustomTLSSecret holds the certificate that PostgreSQL serves in place of pgtls's own: tls.crt, tls.key and ca.crt, or
	// what Items maps to these names. It may change at any time; a bad one is refused and what was served goes on.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.?name.orValue('') != ''",message="name is missing; give the name of a Secret in the cluster's namespace"
	CustomTLSSecret *corev1.SecretProjection `json:"customTLSSecret,omitempty"`

	// CustomReplicationTLSSecret holds the client certificate that replicas present to the primary, with the common name
	// _pgtlsrepl or, as in PGO, _crunchyrepl.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.?name.orValue('') != ''",message="name is missing; give the name of a Secret in the cluster's namespace"
	CustomReplicationTLSSecret *corev1.SecretProjection `json:"customReplicationTLSSecret,omitempty"`
}

// Metadata is labels and annotations that the user wants on objects.
type Metadata struct {
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('pgtls.dev/') && k != 'role')",message="keys under pgtls.dev/ and the key role belong to the operator; use another key"
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(self[k]) <= 63)",message="a value is longer than the 63 characters of a label; shorten it, or make it an annotation"
	Labels map[string]string `json:"labels,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('pgtls.dev/'))",message="keys under pgtls.dev/ belong to the operator; use another key"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// InstanceSetSpec is a set of like instances.
type InstanceSetSpec struct {
	PGOInstanceFields `json:",inline"`

	// Name of the set; instances are <cluster>-<name>-<index>.
	// +kubebuilder:default="00"
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",messageExpression="self + ' is no DNS label, and pods are named after it; use lower-case letters, digits and, inside, -'"
	Name string `json:"name"`

	// Replicas is the number of instances in the set.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	Replicas *int32 `json:"replicas,omitempty"`

	// DataVolumeClaimSpec of each instance's data volume.
	// +kubebuilder:validation:XValidation:rule="has(self.accessModes) && size(self.accessModes) > 0 && self.accessModes[0] in ['ReadWriteOnce','ReadWriteOncePod','ReadWriteMany']",fieldPath=".accessModes",message="must begin with a mode that can be written; set [ReadWriteOnce]"
	// +kubebuilder:validation:XValidation:rule="has(self.resources) && has(self.resources.requests) && 'storage' in self.resources.requests",message="resources.requests.storage is missing; set a size such as 1Gi"
	// +kubebuilder:validation:XValidation:rule="!has(self.resources) || !has(self.resources.requests) || !('storage' in self.resources.requests) || (isQuantity(string(self.resources.requests['storage'])) && quantity(string(self.resources.requests['storage'])).isGreaterThan(quantity('0')))",message="resources.requests.storage is no size; write it as 1Gi"
	// +kubebuilder:validation:XValidation:rule="self.?volumeMode.orValue('Filesystem') == 'Filesystem'",fieldPath=".volumeMode",message="Block cannot hold a data directory; remove it or set Filesystem"
	// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",fieldPath=".storageClassName",message="cannot change, a volume stays in its class; add an instance set with the new class, then remove this one"
	// +kubebuilder:validation:XValidation:rule="![self, oldSelf].all(c, has(c.accessModes) && size(c.accessModes) > 0) || (size(self.accessModes) == size(oldSelf.accessModes) && self.accessModes[0] == oldSelf.accessModes[0])",fieldPath=".accessModes",message="cannot change, a volume keeps its modes; add an instance set with the new modes, then remove this one"
	// +kubebuilder:validation:XValidation:rule="![self, oldSelf].all(c, has(c.resources) && has(c.resources.requests) && 'storage' in c.resources.requests) || !quantity(string(self.resources.requests['storage'])).isLessThan(quantity(string(oldSelf.resources.requests['storage'])))",messageExpression="'resources.requests.storage cannot shrink from ' + string(oldSelf.resources.requests['storage']) + ' to ' + string(self.resources.requests['storage']) + ', no volume does; add a smaller instance set, then remove this one'"
	DataVolumeClaimSpec corev1.PersistentVolumeClaimSpec `json:"dataVolumeClaimSpec"`

	// Resources of the PostgreSQL container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// Affinity of the pods. By default instances prefer different nodes.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// Tolerations of the pods.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Metadata is added to the objects of the set.
	// +optional
	Metadata *Metadata `json:"metadata,omitempty"`
}

// UserSpec is a PostgreSQL user that pgtls creates, with a Secret <cluster>-pguser-<name>.
type UserSpec struct {
	PGOUserFields `json:",inline"`

	// Name of the user.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",messageExpression="self + ' is no DNS label, and the Secret <cluster>-pguser-<name> is named after it; use lower-case letters, digits and, inside, -'"
	// +kubebuilder:validation:XValidation:rule="!(self in ['postgres','pgbouncer','public','none']) && !self.startsWith('pg-')",messageExpression="self + ' is reserved, as are postgres, pgbouncer, public, none and what starts with pg-; use another name'"
	Name string `json:"name"`

	// Databases that the user may use; made when missing, never dropped.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Databases []DatabaseName `json:"databases,omitempty"`

	// Options are the role attributes of ALTER ROLE, such as "CREATEDB". Passwords are not set here.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9 ]*$')",messageExpression="self + ' has more than words, and role attributes are words such as CREATEDB; remove quotes and punctuation'"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(?i:PASSWORD)')",message="PASSWORD cannot be set here; write it to the key password of the Secret <cluster>-pguser-<name>"
	Options string `json:"options,omitempty"`

	// ClientCertificate has pgtls issue and renew a client certificate of the user, in the Secret <cluster>-pguser-<name>-cert.
	// Without it, and when the user is removed, all that were issued are revoked.
	// +optional
	ClientCertificate *ClientCertificateSpec `json:"clientCertificate,omitempty"`
}

// DatabaseName is the name of a database.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="!(self in ['template0','template1','pgbouncer'])",messageExpression="self + ' is reserved, as are template0, template1 and pgbouncer; use another name'"
// +kubebuilder:validation:XValidation:rule="self.matches('^[^[:cntrl:]]*$')",message="contains a control character; remove it"
type DatabaseName string

// PatroniSpec steers Patroni.
type PatroniSpec struct {
	PGOPatroniFields `json:",inline"`

	// DynamicConfiguration is Patroni's dynamic configuration. What TLS and
	// authentication need (ssl*, pg_hba), and where the log goes, is the operator's and refused here.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	DynamicConfiguration *apiextensionsv1.JSON `json:"dynamicConfiguration,omitempty"`

	// LeaderLeaseDurationSeconds is Patroni's ttl: a dead primary is replaced after it.
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=3
	// +kubebuilder:validation:Maximum=600
	LeaderLeaseDurationSeconds *int32 `json:"leaderLeaseDurationSeconds,omitempty"`

	// SyncPeriodSeconds is Patroni's loop_wait.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	SyncPeriodSeconds *int32 `json:"syncPeriodSeconds,omitempty"`
}

// ProxySpec is what stands in front of PostgreSQL.
type ProxySpec struct {
	// +required
	PGBouncer *PGBouncerSpec `json:"pgBouncer"`
}

// PGBouncerSpec is a Deployment of PgBouncer, reached by the Service <cluster>-pgbouncer.
type PGBouncerSpec struct {
	PGOPodFields `json:",inline"`

	// Image runs PgBouncer. By default the operator's.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^ \\t\\n\\r]*$')",messageExpression="self + ' contains white space; write the reference as for docker pull, such as registry.example/postgres:17'"
	Image string `json:"image,omitempty"`

	// Replicas of PgBouncer.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=50
	Replicas *int32 `json:"replicas,omitempty"`

	// Port that PgBouncer listens on.
	// +optional
	// +kubebuilder:default=5432
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self != 8443",message="8443 is the port of the agent in the same pod; use another port"
	Port *int32 `json:"port,omitempty"`

	// Resources of the PgBouncer container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// Affinity of the pods. By default they prefer different nodes.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// Tolerations of the pods.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// CustomTLSSecret holds the certificate that PgBouncer serves in place of pgtls's own, as spec.customTLSSecret does
	// for PostgreSQL.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.?name.orValue('') != ''",message="name is missing; give the name of a Secret in the cluster's namespace"
	CustomTLSSecret *corev1.SecretProjection `json:"customTLSSecret,omitempty"`

	// Config of PgBouncer.
	// +optional
	Config PGBouncerConfiguration `json:"config,omitempty"`

	// Service is the Service <cluster>-pgbouncer.
	// +optional
	Service *ServiceSpec `json:"service,omitempty"`

	// Metadata is added to the objects of the proxy.
	// +optional
	Metadata *Metadata `json:"metadata,omitempty"`
}

// PGBouncerConfiguration is what the user sets in pgbouncer.ini.
type PGBouncerConfiguration struct {
	PGOPoolerConfigurationFields `json:",inline"`

	// Global holds settings of the section [pgbouncer].
	// +optional
	// +kubebuilder:validation:MaxProperties=30
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^[a-z_]+$'))",message="a key is no name of a setting; use lower-case letters and '_'"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !self[k].contains('\\n'))",message="a value has more than one line; write one line"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('client_tls') && !k.startsWith('server_tls') && !k.startsWith('auth_') && !k.startsWith('listen_') && !k.startsWith('unix_socket') && !(k in ['admin_users','stats_users','conffile','logfile','pidfile','user','job_name','service_name']))",message="TLS, authentication, listening and process settings belong to the operator; remove keys such as client_tls_*, server_tls_*, auth_*, listen_*, unix_socket_*, admin_users"
	// +kubebuilder:validation:XValidation:rule="!('pool_mode' in self) || self['pool_mode'] in ['session','transaction','statement']",message="pool_mode is none that PgBouncer has; set session, transaction or statement"
	Global map[string]string `json:"global,omitempty"`
}

// ServiceSpec is how a Service is exposed.
//
// +kubebuilder:validation:XValidation:rule="!has(self.nodePort) || self.?type.orValue('ClusterIP') != 'ClusterIP'",fieldPath=".nodePort",message="a Service of type ClusterIP has no node port; set type NodePort or LoadBalancer, or remove nodePort"
type ServiceSpec struct {
	PGOServiceFields `json:",inline"`

	// +optional
	// +kubebuilder:default=ClusterIP
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`

	// NodePort when Type is NodePort or LoadBalancer.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort *int32 `json:"nodePort,omitempty"`

	// Metadata is added to the Service.
	// +optional
	Metadata *Metadata `json:"metadata,omitempty"`
}
