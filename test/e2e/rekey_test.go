//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/harness"
)

const (
	rekeyLimit       = 2 * time.Minute // until a story gives up; how long it took is a figure
	rotateAnnotation = "pgtls.dev/rotate-authority-requested-at"
)

// withoutSoak drops an old authority as soon as nothing uses it.
func withoutSoak(spec *v1beta1.PostgresClusterSpec) {
	spec.TLS = &v1beta1.TLSSpec{Rotation: &v1beta1.RotationSpec{RetireSoak: ptr.To(v1beta1.SoakDuration("0s"))}}
}

func rekeyServer(s *story) { s.rekey("server") }
func rekeyClient(s *story) { s.rekey("client") }

// rekey replaces a domain's authority several times in a row, under load by clients of every kind, and then shows that the old
// ones are good for nothing. "make test": 2 re-keys, 3,000 connections; "make soak": 3 and 20,000.
func (s *story) rekey(domain string) {
	s.Helper()
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(2).With(withoutSoak))
	pods := s.identities(c)
	l := s.underLoad(c, sized.pace) // these follow the ConfigMap

	var taken []time.Duration
	var old []*pki.Authority
	for i := range sized.rekeys {
		from, to := i+1, i+2
		old = append(old, s.authority(c, domain, from))
		copied := s.bundleOf(c)
		oldOnly := s.trusting(c, fmt.Sprintf("old-%d", from), copied)
		asked := time.Now()
		s.annotate(c, rotateAnnotation, fmt.Sprintf("%s:%d", domain, to))
		both := s.whileBoth(c, domain, copied)
		s.awaitGeneration(c, domain, to)
		taken = append(taken, time.Since(asked))
		newOnly := s.trusting(c, fmt.Sprintf("new-%d", to), s.bundleOf(c))
		s.must(harness.Await(s.Context(), "100 connections of each kind of client", rekeyLimit, func(context.Context) string {
			if n := min(oldOnly.SoFar().Tried, newOnly.SoFar().Tried, both.SoFar().Tried); n < 100 {
				return fmt.Sprintf("%d so far", n)
			}
			return ""
		}))
		for kind, clients := range map[string]*harness.Connecting{"old only": oldOnly, "both": both, "new only": newOnly} {
			s.noneFailed(fmt.Sprintf("%s, g%d to g%d", kind, from, to), clients)
		}
		s.awaitFollower(c)
	}
	enough := harness.Await(s.Context(), fmt.Sprintf("%d connections", sized.rekeyConnections), 10*time.Minute, func(context.Context) string {
		if tried := l.counts().Sum().Tried; tried < sized.rekeyConnections {
			return fmt.Sprintf("%d so far", tried)
		}
		return ""
	})
	l.end()
	s.must(enough)
	spread := harness.SpreadOf(taken)
	s.figures.StagedMs = spread
	s.fact("rekeyMs", spread)
	s.same("pods and restarts", pods, s.identities(c))
	for _, authority := range old {
		s.refusedEverywhere(c, domain, authority)
	}
	s.acceptedEverywhere(c, domain, s.authority(c, domain, sized.rekeys+1))
}

// awaitFollower waits until the client pod has been given the ConfigMap's bundle and the operator's certificate of now. Bridges lead
// clients that lag by up to two re-keys, and three in a minute would be more. The kubelet takes a minute; "make test" has it look at
// once, which changes nothing for the re-key before.
func (s *story) awaitFollower(c *living) {
	s.Helper()
	if !harness.Soak() {
		s.must(c.client.Follow(s.Context(), s.bundleOf(c), readyLimit))
		s.must(c.client.FollowOperator(s.Context(), readyLimit))
		return
	}
	s.eventually("the client pod's bundle and certificate", 3*time.Minute, func(ctx context.Context) string {
		return c.client.Lags(ctx, s.bundleOf(c))
	})
}

// identities of all pods, with how often their containers were started.
func (s *story) identities(c *living) map[string]string {
	s.Helper()
	out := map[string]string{}
	for _, pod := range s.podsOf(c) {
		text := string(pod.UID)
		for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			text += fmt.Sprintf(" %s:%d", status.Name, status.RestartCount)
		}
		out[pod.Name] = text
	}
	return out
}

func (s *story) authority(c *living, domain string, generation int) *pki.Authority {
	s.Helper()
	var secret corev1.Secret
	s.must(kube.Get(s.Context(), client.ObjectKey{Namespace: c.Namespace, Name: fmt.Sprintf("%s-%s-ca-g%d", c.Name, domain, generation)}, &secret))
	authority, err := pki.ParseAuthority(secret.Data["ca.crt"], secret.Data["ca.key"])
	s.must(err)
	return authority
}

// bundleOf is what the ConfigMap tells clients to trust.
func (s *story) bundleOf(c *living) string {
	s.Helper()
	var config corev1.ConfigMap
	s.must(kube.Get(s.Context(), client.ObjectKey{Namespace: c.Namespace, Name: c.Name + "-ca"}, &config))
	return config.Data["ca.crt"]
}

// trusting starts clients that hold a bundle for ever.
func (s *story) trusting(c *living, name, bundle string) *harness.Connecting {
	s.Helper()
	file, err := c.client.WriteFile(s.Context(), name+".crt", bundle)
	s.must(err)
	connecting, err := c.client.ConnectTrusting(s.Context(), file, []harness.Target{c.Service("pgbouncer"), c.Service("primary"), c.Service("replicas")},
		harness.Rates{Pgx: 4, Psql: 1})
	s.must(err)
	return connecting
}

// whileBoth starts clients that copied the bundle while it held the old and the new authority.
func (s *story) whileBoth(c *living, domain, before string) *harness.Connecting {
	s.Helper()
	both := before
	if domain == "server" {
		s.must(harness.Await(s.Context(), "a bundle with both authorities", rekeyLimit, func(context.Context) string {
			if both = s.bundleOf(c); strings.Count(both, "BEGIN CERTIFICATE") != 2 {
				return "there is one"
			}
			return ""
		}))
	}
	return s.trusting(c, fmt.Sprintf("both-%d", len(both)), both)
}

func (s *story) noneFailed(who string, clients *harness.Connecting) {
	s.Helper()
	s.must(clients.Stop())
	sum := clients.SoFar()
	s.figures.Connections += sum.Tried
	s.figures.Failed += sum.Failed
	if failures := clients.Failures(); len(failures) > 0 {
		s.Errorf("clients that hold %s: %d of %d connections failed:\n%s", who, sum.Failed, sum.Tried, harness.Telling(failures, 10))
	}
}

// awaitGeneration waits until one generation of a domain is all that is stored, trusted, served and used.
func (s *story) awaitGeneration(c *living, domain string, generation int) {
	s.Helper()
	s.awaitGenerationWithin(c, domain, generation, rekeyLimit)
}

func (s *story) awaitGenerationWithin(c *living, domain string, generation int, limit time.Duration) {
	s.Helper()
	issuer := fmt.Sprintf("CN=%s %s ca g%d", c.Name, domain, generation)
	s.must(harness.Await(s.Context(), issuer+" alone", limit, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil || cluster.Status.TLS == nil {
			return fmt.Sprintf("no status: %v", err)
		}
		tls := cluster.Status.TLS
		if len(tls.Rekeys) > 0 || tls.State != "Steady" {
			return fmt.Sprintf("%s, %+v, waiting for %+v", tls.State, tls.Rekeys, tls.Blockers)
		}
		secrets, err := c.Secrets(ctx)
		if err != nil {
			return err.Error()
		}
		return s.notOnly(c, domain, generation, secrets)
	}))
	s.must(c.AwaitReady(s.Context(), readyLimit))
}

// notOnly says what is not the wanted generation's, "" when everything is.
func (s *story) notOnly(c *living, domain string, generation int, secrets []corev1.Secret) string {
	found := false
	for _, secret := range secrets {
		if strings.HasPrefix(secret.Name, c.Name+"-"+domain+"-ca-g") {
			if strings.TrimSuffix(secret.Name, "-copy") != fmt.Sprintf("%s-%s-ca-g%d", c.Name, domain, generation) {
				return secret.Name + " is still there"
			}
			found = true
		}
	}
	if !found {
		return fmt.Sprintf("there is no g%d", generation)
	}
	want := fmt.Sprintf("%s %s ca g%d", c.Name, domain, generation)
	for _, secret := range secrets {
		bundle, ok := secret.Data[domain+"-ca.crt"]
		if !ok {
			continue
		}
		anchors, err := pki.ParseBundle(bundle)
		if err != nil || len(anchors) != 1 || anchors[0].Subject.CommonName != want {
			return fmt.Sprintf("%s trusts %d anchors (%v)", secret.Name, len(anchors), err)
		}
		if certificate := secret.Data[domain+".crt"]; len(certificate) > 0 {
			pair, err := pki.ParseKeyPair(certificate, secret.Data[domain+".key"])
			if err != nil || pair.Leaf().Issuer.CommonName != want {
				return fmt.Sprintf("%s holds another leaf (%v)", secret.Name, err)
			}
		}
	}
	return ""
}

// canary issues a leaf that looks right in all but its issuer.
func (s *story) canary(c *living, domain string, authority *pki.Authority, pod string) *pki.KeyPair {
	s.Helper()
	request := pki.LeafRequest{CommonName: agentapi.OperatorIdentity, Usage: pki.ClientAuth, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	if domain == "server" {
		request.Usage, request.DNSNames = pki.ServerAuth, []string{c.InstanceTarget(pod).Host}
	}
	pair, err := authority.Issue(request)
	s.must(err)
	return pair
}

// refusedEverywhere presents a canary of an authority that was dropped.
func (s *story) refusedEverywhere(c *living, domain string, authority *pki.Authority) {
	s.Helper()
	for verifier, answer := range s.present(c, domain, authority) {
		if answer == "" {
			s.Errorf("%s accepts a leaf of %s, which was dropped", verifier, authority.Certificate.Subject)
		}
	}
}

// acceptedEverywhere is what makes the refusals mean something.
func (s *story) acceptedEverywhere(c *living, domain string, authority *pki.Authority) {
	s.Helper()
	answers := s.present(c, domain, authority)
	for verifier, answer := range answers {
		if answer != "" {
			s.Errorf("%s refuses a leaf of %s, which signs: %s", verifier, authority.Certificate.Subject, answer)
		}
	}
	if len(answers) < 5 {
		s.Errorf("only %d verifiers were asked", len(answers))
	}
}

// present shows a canary to every verifier and tells what each says, "" for yes. A client's leaf is presented to every PostgreSQL;
// a server's leaf is put to every bundle that a client verifies servers with.
func (s *story) present(c *living, domain string, authority *pki.Authority) map[string]string {
	s.Helper()
	answers := map[string]string{}
	instances, err := c.Instances(s.Context())
	s.must(err)
	canary := s.canary(c, domain, authority, instances[0].Name)
	secrets, err := c.Secrets(s.Context())
	s.must(err)
	bundles := map[string]string{}
	for _, secret := range secrets {
		if bundle, ok := secret.Data[domain+"-ca.crt"]; ok {
			bundles[secret.Name] = string(bundle)
		}
		if bundle, ok := secret.Data["ca.crt"]; ok && domain == "server" && secret.Data["password"] != nil {
			bundles[secret.Name] = string(bundle)
		}
	}
	if domain == "server" {
		bundles["ConfigMap"] = s.bundleOf(c)
	}
	usage := map[string]pki.Usage{"server": pki.ServerAuth, "client": pki.ClientAuth}[domain]
	for name, bundle := range bundles {
		anchors, err := pki.ParseBundle([]byte(bundle))
		s.must(err)
		answers["bundle of "+name] = saidBy(pki.Verify(pki.VerifyRequest{Chain: canary.Chain, Anchors: anchors, At: time.Now(), Usage: usage}))
	}
	if domain == "client" {
		for _, pod := range instances {
			answers["PostgreSQL of "+pod.Name] = s.logIn(c, pod.Name, canary)
		}
	}
	return answers
}

func saidBy(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// logIn presents a client's leaf to PostgreSQL, and tells why it was refused.
func (s *story) logIn(c *living, pod string, pair *pki.KeyPair) string {
	s.Helper()
	key, err := pair.EncodeKey()
	s.must(err)
	name := "canary-" + hex.EncodeToString(pair.Leaf().SerialNumber.Bytes()[:4])
	certificate, err := c.client.WriteFile(s.Context(), name+".crt", string(pki.EncodeBundle([]*x509.Certificate{pair.Leaf()})))
	s.must(err)
	keyFile, err := c.client.WriteFile(s.Context(), name+".key", string(key))
	s.must(err)
	_, err = c.client.Query(s.Context(), harness.Login{Target: c.InstanceTarget(pod), AsOperator: true, Certificate: certificate, Key: keyFile}, "select 1")
	return saidBy(err)
}
