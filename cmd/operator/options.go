package main

import (
	"strconv"

	"github.com/spf13/pflag"

	"pgtls.dev/pgtls/internal/desired"
)

// versions of PostgreSQL that the CRD offers.
var versions = []int{15, 17}

// options of the operator; flags win over the environment.
type options struct {
	namespaces    []string
	clusterDomain string
	ownNamespace  string
	postgres      map[int]*string
	pgbouncer     string
	agent         string
	metrics       string
	systemRoots   string
	health        string
	verbose       bool
}

func fromEnvironment(getenv func(string) string) *options {
	o := &options{
		ownNamespace: getenv("POD_NAMESPACE"),
		pgbouncer:    getenv("RELATED_IMAGE_PGBOUNCER"),
		agent:        getenv("RELATED_IMAGE_AGENT"),
		postgres:     map[int]*string{},
	}
	for _, version := range versions {
		image := getenv("RELATED_IMAGE_POSTGRES_" + strconv.Itoa(version))
		o.postgres[version] = &image
	}
	return o
}

func (o *options) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.namespaces, "namespace", nil, "namespace to look after, may be repeated; all by default")
	flags.StringVar(&o.clusterDomain, "cluster-domain", "cluster.local", "DNS domain of the Kubernetes cluster")
	flags.StringVar(&o.ownNamespace, "operator-namespace", o.ownNamespace, "namespace that the operator runs in, for network policies (POD_NAMESPACE)")
	for _, version := range versions {
		v := strconv.Itoa(version)
		flags.StringVar(o.postgres[version], "image-postgres-"+v, *o.postgres[version], "default image for PostgreSQL "+v+" (RELATED_IMAGE_POSTGRES_"+v+")")
	}
	flags.StringVar(&o.pgbouncer, "image-pgbouncer", o.pgbouncer, "default image for PgBouncer (RELATED_IMAGE_PGBOUNCER)")
	flags.StringVar(&o.agent, "image-agent", o.agent, "image of the agent (RELATED_IMAGE_AGENT)")
	flags.StringVar(&o.systemRoots, "system-roots", "", "file with the public authorities that custom certificates may lead to where spec.tls.server.systemRoots says so, PEM; those that Mozilla trusts by default")
	flags.StringVar(&o.metrics, "metrics-bind-address", "0", "where to serve metrics, plain HTTP, such as 127.0.0.1:8080; 0 for nowhere")
	flags.StringVar(&o.health, "health-probe-bind-address", ":8081", "where to answer /healthz and /readyz; 0 for nowhere")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
}

func (o *options) settings() desired.Settings {
	images := desired.Images{Postgres: map[int]string{}, PGBouncer: o.pgbouncer, Agent: o.agent}
	for version, image := range o.postgres {
		images.Postgres[version] = *image
	}
	return desired.Settings{ClusterDomain: o.clusterDomain, OperatorNamespace: o.ownNamespace, Images: images}
}
