//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/test/harness"
)

const (
	customLimit = 4 * time.Minute
	customLife  = 24 * time.Hour
)

// A place is where a cluster takes a custom certificate.
type place struct {
	condition string
	files     [2]string // of the material: where it is then
	usage     x509.ExtKeyUsage
	name      string   // common name
	hosts     []string // "%s" is the namespace
	set       func(*v1beta1.PostgresClusterSpec, *corev1.SecretProjection)
	moves     func(pod corev1.Pod) bool
}

func isInstance(pod corev1.Pod) bool { return pod.Labels["pgtls.dev/component"] == "instance" }

var (
	serverPlace = place{
		condition: "CustomCertificateServer", files: [2]string{agentapi.ServedCertificate, agentapi.ServedKey}, usage: x509.ExtKeyUsageServerAuth,
		name: "hippo-primary", hosts: []string{"hippo-primary.%s.svc", "hippo-replicas.%s.svc", "*.hippo-pods.%s.svc"}, moves: isInstance,
		set: func(spec *v1beta1.PostgresClusterSpec, secret *corev1.SecretProjection) {
			spec.CustomTLSSecret = secret
		},
	}
	replicationPlace = place{
		condition: "CustomCertificateReplication", files: [2]string{agentapi.PresentedCertificate, agentapi.PresentedKey}, usage: x509.ExtKeyUsageClientAuth,
		name: "_crunchyrepl", moves: isInstance,
		set: func(spec *v1beta1.PostgresClusterSpec, secret *corev1.SecretProjection) {
			spec.CustomReplicationTLSSecret = secret
		},
	}
	poolerPlace = place{
		condition: "CustomCertificatePGBouncer", files: [2]string{agentapi.ServedCertificate, agentapi.ServedKey}, usage: x509.ExtKeyUsageServerAuth,
		name: "hippo-pgbouncer", hosts: []string{"hippo-pgbouncer.%s.svc"}, moves: func(pod corev1.Pod) bool { return !isInstance(pod) },
		set: func(spec *v1beta1.PostgresClusterSpec, secret *corev1.SecretProjection) {
			spec.Proxy.PGBouncer.CustomTLSSecret = secret
		},
	}
)

func customServer(s *story)      { s.customEverywhere(serverPlace) }
func customReplication(s *story) { s.customEverywhere(replicationPlace) }
func customPooler(s *story)      { s.customEverywhere(poolerPlace) }

// followSoon is as long as a kubelet takes to bring a mounted ConfigMap; with less, clients that follow it would be refused.
func followSoon(spec *v1beta1.PostgresClusterSpec) {
	withoutSoak(spec)
	spec.TLS.TrustPropagationDelay = ptr.To(v1beta1.SoakDuration("100s"))
}

// customEverywhere brings a certificate of a company's, has it changed in every way that a user may, and takes it away again,
// under load by clients that follow the ConfigMap. "make test": 2,000 connections; "make soak": 10,000.
func (s *story) customEverywhere(p place) {
	s.Helper()
	first, second := harness.NewCompany("First"), harness.NewCompany("Second")
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(2).With(followSoon))
	pods := s.identities(c)
	l := s.underLoad(c, sized.besidePace)

	taken := map[string]time.Duration{}
	adopt := func(what string, change func()) {
		begun := time.Now()
		change()
		s.awaitCustom(c, p)
		taken[what] = time.Since(begun).Round(10 * time.Millisecond)
	}
	adopt("first", func() {
		s.bring(c, p, "hippo-custom", first, nil)
		s.project(c, p, &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "hippo-custom"}})
	})
	s.replicationIsOf(l, p, first)
	adopt("content", func() { s.bring(c, p, "hippo-custom", first, nil) })
	adopt("renamed", func() {
		s.bring(c, p, "hippo-renamed", first, nil)
		s.project(c, p, &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "hippo-renamed"}})
	})
	adopt("issuer", func() { s.bring(c, p, "hippo-renamed", second, nil) })
	adopt("items", func() {
		keys := map[string]string{"tls.crt": "certificate", "tls.key": "private", "ca.crt": "root"}
		s.bring(c, p, "hippo-items", second, keys)
		projection := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "hippo-items"}}
		for path, key := range keys {
			projection.Items = append(projection.Items, corev1.KeyToPath{Key: key, Path: path})
		}
		s.project(c, p, projection)
	})
	s.fact("tookMs", milliseconds(taken))
	s.awaitDropped(c, p, first)
	s.must(harness.Await(s.Context(), fmt.Sprintf("%d connections", sized.customConnections), 10*time.Minute, func(context.Context) string {
		if tried := l.counts().Sum().Tried; tried < sized.customConnections {
			return fmt.Sprintf("%d so far", tried)
		}
		return ""
	}))
	s.replicationIsOf(l, p, second)
	l.end()
	s.same("pods and restarts", pods, s.identities(c))
}

// replicationIsOf has the replicas connect anew, since a session goes on with what it came in with, and shows whose certificate
// they come with then.
func (s *story) replicationIsOf(l *load, p place, company *harness.Company) {
	s.Helper()
	if p.condition != replicationPlace.condition {
		return
	}
	client := l.cluster.client
	_, err := client.AsPrimary(s.Context(), "select pg_terminate_backend(pid) from pg_stat_replication")
	s.must(err)
	s.must(client.AwaitStreaming(s.Context(), 2))
	rows, err := client.AsPrimary(s.Context(), "select distinct client_dn, issuer_dn from pg_stat_ssl join pg_stat_replication using (pid)")
	s.must(err)
	s.rowsAre("whose certificates replicas present", rows, fmt.Sprintf("/O=%s/CN=_crunchyrepl|/CN=%s Issuing CA", company.Name, company.Name))
	l.replication, err = client.Replication(s.Context())
	s.must(err)
}

func milliseconds(taken map[string]time.Duration) map[string]int64 {
	out := map[string]int64{}
	for what, t := range taken {
		out[what] = t.Milliseconds()
	}
	return out
}

// bring writes a fresh certificate of a company into a Secret, under other keys where keys says so.
func (s *story) bring(c *living, p place, name string, company *harness.Company, keys map[string]string) {
	s.Helper()
	var hosts []string
	for _, host := range p.hosts {
		hosts = append(hosts, fmt.Sprintf(host, c.Namespace))
	}
	data := company.Issue(p.name, p.usage, customLife, hosts...)
	renamed := map[string][]byte{}
	for key, value := range data {
		if other := keys[key]; other != "" {
			key = other
		}
		renamed[key] = value
	}
	s.write(c, name, renamed)
}

// write makes a Secret, or replaces its content.
func (s *story) write(c *living, name string, data map[string][]byte) {
	s.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name}}
	err := kube.Get(s.Context(), client.ObjectKeyFromObject(secret), secret)
	s.must(client.IgnoreNotFound(err))
	secret.Data = data
	if err != nil {
		s.must(kube.Create(s.Context(), secret))
		return
	}
	s.must(kube.Update(s.Context(), secret))
}

func (s *story) project(c *living, p place, projection *corev1.SecretProjection) {
	s.Helper()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) { p.set(&cluster.Spec, projection) }))
}

// awaitCustom waits until every pod of the place serves or presents what the Secret holds that the spec names.
func (s *story) awaitCustom(c *living, p place) {
	s.Helper()
	s.eventually("the custom certificate everywhere", customLimit, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil {
			return err.Error()
		}
		want, missing := s.wanted(ctx, cluster, p)
		if missing != "" {
			return missing
		}
		if missing = s.notPresented(c, p, want); missing != "" {
			return missing
		}
		if cluster.Status.TLS == nil || cluster.Status.TLS.State != "Steady" {
			return fmt.Sprintf("not steady: %+v", cluster.Status.TLS)
		}
		if condition := meta.FindStatusCondition(cluster.Status.Conditions, p.condition); condition == nil || condition.Reason != "Presented" {
			return fmt.Sprintf("condition %+v", condition)
		}
		return ""
	})
}

// wanted is the serial number in the Secret that the spec names.
func (s *story) wanted(ctx context.Context, cluster *v1beta1.PostgresCluster, p place) (serial, missing string) {
	var spec v1beta1.PostgresClusterSpec
	cluster.Spec.DeepCopyInto(&spec)
	projection := map[string]*corev1.SecretProjection{
		serverPlace.condition: spec.CustomTLSSecret, replicationPlace.condition: spec.CustomReplicationTLSSecret, poolerPlace.condition: spec.Proxy.PGBouncer.CustomTLSSecret,
	}[p.condition]
	if projection == nil {
		return "", "no Secret is named"
	}
	var secret corev1.Secret
	if err := kube.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: projection.Name}, &secret); err != nil {
		return "", err.Error()
	}
	text := secret.Data["tls.crt"]
	for _, item := range projection.Items {
		if item.Path == "tls.crt" {
			text = secret.Data[item.Key]
		}
	}
	return serialOf(text), ""
}

func serialOf(text []byte) string {
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", leaf.SerialNumber)
}

// notPresented names a pod that does not use the wanted certificate. What servers present is seen on the wire by the load; what
// replicas present, the operator's report and the material tell.
func (s *story) notPresented(c *living, p place, serial string) string {
	secrets, err := c.Secrets(s.Context())
	if err != nil {
		return err.Error()
	}
	material := map[string]corev1.Secret{}
	for _, secret := range secrets {
		material[secret.Name] = secret
	}
	for _, pod := range s.podsOf(c) {
		if !p.moves(pod) {
			continue
		}
		name := pod.Labels["pgtls.dev/instance"] + "-tls"
		if !isInstance(pod) {
			name = c.Name + "-pgbouncer-tls"
		}
		if got := serialOf(material[name].Data[p.files[0]]); got != serial {
			return fmt.Sprintf("material of %s holds %s and not %s", pod.Name, got, serial)
		}
		if pod.Annotations["pgtls.dev/activate"] != material[name].Annotations["pgtls.dev/revision"] {
			return fmt.Sprintf("pod %s was not asked to use it", pod.Name)
		}
	}
	return ""
}

// awaitDropped waits until no bundle holds the anchor of a company any more.
func (s *story) awaitDropped(c *living, p place, company *harness.Company) {
	s.Helper()
	bundle := "server-ca.crt"
	if p.usage == x509.ExtKeyUsageClientAuth {
		bundle = "client-ca.crt"
	}
	s.eventually("the old issuer dropped", customLimit, func(ctx context.Context) string {
		secrets, err := c.Secrets(ctx)
		if err != nil {
			return err.Error()
		}
		for _, secret := range secrets {
			if strings.Contains(string(secret.Data[bundle]), company.Root()) {
				return secret.Name + " still holds it"
			}
		}
		if bundle == "server-ca.crt" && strings.Contains(s.bundleOf(c), company.Root()) {
			return "the ConfigMap still holds it"
		}
		return ""
	})
}

// builtinToCustomAndBack brings all three certificates at once, and takes them all away again.
func builtinToCustomAndBack(s *story) {
	company := harness.NewCompany("Company")
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(2).With(followSoon))
	pods := s.identities(c)
	places := []place{serverPlace, replicationPlace, poolerPlace}
	l := s.underLoad(c, sized.besidePace)
	begun := time.Now()
	for _, p := range places {
		s.bring(c, p, strings.ToLower(p.condition), company, nil)
	}
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		for _, p := range places {
			p.set(&cluster.Spec, &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: strings.ToLower(p.condition)}})
		}
	}))
	for _, p := range places {
		s.awaitCustom(c, p)
	}
	s.fact("toCustomMs", time.Since(begun).Milliseconds())
	s.replicationIsOf(l, replicationPlace, company)

	begun = time.Now()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		for _, p := range places {
			p.set(&cluster.Spec, nil)
		}
	}))
	s.eventually("the cluster's own certificates everywhere", customLimit, func(ctx context.Context) string { return s.notOwn(ctx, c, places) })
	s.fact("backMs", time.Since(begun).Milliseconds())
	s.awaitDropped(c, serverPlace, company)
	s.awaitDropped(c, replicationPlace, company)
	l.end()
	s.same("pods and restarts", pods, s.identities(c))
}

// notOwn says what is not pgtls's own again, "" when everything is.
func (s *story) notOwn(ctx context.Context, c *living, places []place) string {
	cluster, err := c.Get(ctx)
	if err != nil || cluster.Status.TLS == nil || cluster.Status.TLS.State != "Steady" {
		return fmt.Sprintf("not steady (%v)", err)
	}
	secrets, err := c.Secrets(ctx)
	if err != nil {
		return err.Error()
	}
	for _, secret := range secrets {
		if served := secret.Data[agentapi.ServedCertificate]; served != nil && string(served) != string(secret.Data[agentapi.ServerCertificate]) {
			return secret.Name + " still serves a custom certificate"
		}
		if presented := secret.Data[agentapi.PresentedCertificate]; presented != nil && string(presented) != string(secret.Data[agentapi.ClientCertificate]) {
			return secret.Name + " still presents a custom certificate"
		}
	}
	for _, p := range places {
		if meta.FindStatusCondition(cluster.Status.Conditions, p.condition) != nil {
			return "the condition " + p.condition + " is still there"
		}
	}
	return ""
}
