// Package metrics shows the state of clusters as Prometheus metrics.
//
// They are a view of what the status says: a series is there as long as what it tells of, and is gone with its cluster. What is
// not known is absent, and not 0.
package metrics

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Lister returns all clusters, from a cache: it is asked at every scrape.
type Lister func(context.Context) ([]v1beta1.PostgresCluster, error)

// listTimeout is how long a scrape waits for the list.
const listTimeout = 5 * time.Second

// Collector is the prometheus.Collector of all clusters.
type Collector struct{ list Lister }

// New makes a collector.
func New(list Lister) *Collector { return &Collector{list: list} }

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"namespace", "cluster", "domain"}, labels...), nil)
}

// metric names follow the Prometheus conventions: https://prometheus.io/docs/practices/naming/
type descriptions struct{ rekey, rolledBack, custom *prometheus.Desc }

func describe() descriptions {
	return descriptions{
		rekey: description("pgtls_authority_rekey", "An authority is being replaced: 1 for the phase that it is in.", "phase", "from", "to"),
		rolledBack: description("pgtls_authority_rolled_back",
			"The last re-key of the domain was undone, and is not tried again until asked: 1 for the generation that was rolled back.", "generation", "reason"),
		custom: prometheus.NewDesc("pgtls_custom_certificate",
			"A certificate, or trust, that the spec takes from elsewhere: 1 when it is presented or accepted, 0 when it is refused or waits, and why.",
			[]string{"namespace", "cluster", "condition", "reason"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	d := describe()
	to <- d.rekey
	to <- d.rolledBack
	to <- d.custom
}

// Collect implements prometheus.Collector. While the clusters cannot be listed nothing is known, and nothing is told.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout) //nolint:forbidigo // the interface has no context
	defer cancel()
	clusters, err := c.list(ctx)
	if err != nil {
		return
	}
	d := describe()
	for i := range clusters {
		if clusters[i].Status.TLS != nil {
			d.collect(to, &clusters[i])
		}
	}
}

func (d descriptions) collect(to chan<- prometheus.Metric, cluster *v1beta1.PostgresCluster) {
	one := func(of *prometheus.Desc, domain string, labels ...string) {
		to <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, 1, append([]string{cluster.Namespace, cluster.Name, domain}, labels...)...)
	}
	d.collectCustom(to, cluster)
	for _, r := range cluster.Status.TLS.Rekeys {
		one(d.rekey, r.Domain, r.Phase, r.From, r.To)
	}
	for _, a := range cluster.Status.TLS.Authorities {
		if a.RolledBack != "" && a.Active {
			one(d.rolledBack, domainOf(a.RolledBack), a.RolledBack, a.RollbackReason)
		}
	}
}

// collectCustom tells the conditions CustomCertificate... and AdditionalTrust....
func (d descriptions) collectCustom(to chan<- prometheus.Metric, cluster *v1beta1.PostgresCluster) {
	for _, c := range cluster.Status.Conditions {
		if !strings.HasPrefix(c.Type, "CustomCertificate") && !strings.HasPrefix(c.Type, "AdditionalTrust") {
			continue
		}
		value := 0.0
		if c.Status == metav1.ConditionTrue {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(d.custom, prometheus.GaugeValue, value, cluster.Namespace, cluster.Name, c.Type, c.Reason)
	}
}

// domainOf is the trust domain in the name of a generation, such as server-g2.
func domainOf(generation string) string {
	for i := range generation {
		if generation[i] == '-' {
			return generation[:i]
		}
	}
	return generation
}
