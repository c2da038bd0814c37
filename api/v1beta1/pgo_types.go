package v1beta1

import "k8s.io/apimachinery/pkg/util/intstr"

// The fields of Crunchy PGO's PostgresCluster that pgtls does not have.
//
// An API server drops a field that the schema does not know, and only clients that ask for strict validation, such as
// kubectl, get a warning; a cluster would come up without its backups, in silence. So the schema has these fields, and the
// API server rejects each, for every client, with a remedy. No code reads them. docs/coming-from-pgo.md has the same list, by a test.
//
// Each has the type that it has in PGO, because rules are possible for fields with a type only; a value of another type is
// refused for that, by name too.

// RefusedObject is an object that is refused whatever it holds.
//
// +kubebuilder:pruning:PreserveUnknownFields
type RefusedObject struct{}

// PGOClusterFields are those of the spec.
type PGOClusterFields struct {
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="rules of pg_hba.conf are the operator's, passwords over TLS and certificates are what it lets in; remove it"
	Authentication *RefusedObject `json:"authentication,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pgtls makes no backups; remove it, and back up over a connection or from the volumes with another tool"
	Backups *RefusedObject `json:"backups,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="settings of PostgreSQL stand elsewhere and files are not mounted; move parameters to patroni.dynamicConfiguration.postgresql.parameters, and remove it"
	Config *RefusedObject `json:"config,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="a cluster begins empty; remove it, and restore with pg_restore or by logical replication"
	DataSource *RefusedObject `json:"dataSource,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="no SQL is run when a cluster begins; remove it, and run the SQL with psql once the condition Ready is True"
	DatabaseInitSQL *RefusedObject `json:"databaseInitSQL,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pods prefer different nodes unless affinity is set, and there is no other default; remove it, and set affinity of instances and pgBouncer"
	DisableDefaultPodScheduling *bool `json:"disableDefaultPodScheduling,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pgtls runs no OpenTelemetry collector; remove it, and run one beside the cluster"
	Instrumentation *RefusedObject `json:"instrumentation,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pgtls runs no exporter; remove it, and run one beside the cluster with a user of spec.users"
	Monitoring *RefusedObject `json:"monitoring,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pods are the same on every Kubernetes, with uid and gid 26; remove it"
	OpenShift *bool `json:"openshift,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="a cluster as a whole cannot be paused; remove it, and set tls.rotation.paused to hold certificates"
	Paused *bool `json:"paused,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="PostgreSQL listens on 5432; remove it, and set proxy.pgBouncer.port for another port of the pooler"
	Port *int32 `json:"port,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pgtls chooses no image by the version of PostGIS; remove it, and set image to one that has PostGIS"
	PostGISVersion *string `json:"postGISVersion,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="a cluster cannot be stopped; remove it, or delete the cluster"
	Shutdown *bool `json:"shutdown,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pgtls runs no standby clusters; remove it, and use logical replication between two clusters"
	Standby *RefusedObject `json:"standby,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pods have the one group 26; remove it"
	SupplementalGroups []int64 `json:"supplementalGroups,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pgtls runs no pgAdmin; remove it, and connect your own with the Secret <cluster>-pguser-<user>"
	UserInterface *RefusedObject `json:"userInterface,omitempty"`
}

// PGOInstanceFields are those of an instance set.
type PGOInstanceFields struct {
	PGOPodFields `json:",inline"`

	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="tablespaces have no volumes of their own; remove it, and make dataVolumeClaimSpec large enough"
	TablespaceVolumes []RefusedObject `json:"tablespaceVolumes,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="the write-ahead log lies on the data volume; remove it, and make dataVolumeClaimSpec large enough"
	WALVolumeClaimSpec *RefusedObject `json:"walVolumeClaimSpec,omitempty"`
}

// PGOPodFields are those that instance sets and PgBouncer have in common.
type PGOPodFields struct {
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pods take no further containers; remove it, and run them in a pod of their own"
	Containers []RefusedObject `json:"containers,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="the PodDisruptionBudget is the operator's and lets one pod go at a time; remove it"
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pods have the default priority of the Kubernetes cluster; remove it, or make a PriorityClass with globalDefault"
	PriorityClassName *string `json:"priorityClassName,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="the one container beside the process is pgtls's agent, which takes no settings; remove it"
	Sidecars *RefusedObject `json:"sidecars,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pods are not spread by constraints; remove it, and set affinity with podAntiAffinity"
	TopologySpreadConstraints []RefusedObject `json:"topologySpreadConstraints,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="pods take no further volumes; remove it"
	Volumes *RefusedObject `json:"volumes,omitempty"`
}

// PGOUserFields are those of a user.
type PGOUserFields struct {
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="passwords are made of letters, digits, - and _; remove it, or write your own to the key password of the Secret <cluster>-pguser-<name>"
	Password *RefusedObject `json:"password,omitempty"`
}

// PGOPatroniFields are those of Patroni.
type PGOPatroniFields struct {
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="Patroni logs to the output of its container; remove it, and read kubectl logs <pod> --container database"
	Logging *RefusedObject `json:"logging,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="Patroni's REST API is on 8008, where pgtls's agent serves it over TLS; remove it"
	Port *int32 `json:"port,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="switchovers are the operator's, whenever the primary's pod has to go; remove it"
	Switchover *RefusedObject `json:"switchover,omitempty"`
}

// PGOPoolerConfigurationFields are those of PgBouncer's configuration.
type PGOPoolerConfigurationFields struct {
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="every database is reached on the primary, and there is no other entry; remove it"
	Databases map[string]string `json:"databases,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="no files are mounted or included; remove it, and put settings under global"
	Files []RefusedObject `json:"files,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="there are no settings per user; remove it, and put settings for all under global"
	Users map[string]string `json:"users,omitempty"`
}

// PGOServiceFields are those of a Service.
type PGOServiceFields struct {
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="a Service has the default of Kubernetes, Cluster; remove it"
	ExternalTrafficPolicy *string `json:"externalTrafficPolicy,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="a Service has the default of Kubernetes, Cluster; remove it"
	InternalTrafficPolicy *string `json:"internalTrafficPolicy,omitempty"`
	// +optional
	// +kubebuilder:validation:XValidation:rule="false",message="a Service has the default of the Kubernetes cluster; remove it"
	IPFamilyPolicy *string `json:"ipFamilyPolicy,omitempty"`
}
