package tls

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// view is one observation of a cluster: the facts that decisions are made
// from, and beside them what is needed to act on the decision.
type view struct {
	cluster     *v1beta1.PostgresCluster
	policy      rotation.Policy
	observed    rotation.Observed
	authorities []*storedAuthority
	orphans     []*corev1.Secret          // authorities of an earlier cluster of this name
	material    map[string]*corev1.Secret // by party; absent when there is none
	ledger      *corev1.Secret            // of what was issued to applications; nil when there is none
	record      *corev1.Secret            // of the anchors from elsewhere; nil when there is none
	// recordForeign: the record's name is that of somebody else's Secret.
	recordForeign bool

	foreign   []*foreignAnchor
	signed    map[string]*x509.RevocationList // in this round, by the authority's key
	customs   []*presented
	pods      map[string]*corev1.Pod         // by name
	endpoints map[string][]evidence.Endpoint // by pod
	held      map[string]bool                // material that some pod mounts
	plan      rotation.Plan                  // what was decided about it

	// certificates of authorities and bridges by fingerprint: those that are stored, and those of lost authorities.
	certificates map[string]*x509.Certificate

	trustFindings map[rotation.Domain][]custom.Finding // about spec.tls.<domain>.additionalTrust
}

// observe reads everything. What this controller writes is read live, so that
// what was written a moment ago is seen and not written again; Services, which
// others write, come from the cache.
func (r *Reconciler) observe(ctx context.Context, cluster *v1beta1.PostgresCluster) (*view, error) {
	v := &view{
		cluster: cluster, policy: policyOf(cluster),
		material: map[string]*corev1.Secret{}, pods: map[string]*corev1.Pod{}, endpoints: map[string][]evidence.Endpoint{}, held: map[string]bool{},
		certificates: map[string]*x509.Certificate{}, trustFindings: map[rotation.Domain][]custom.Finding{},
	}
	v.observed.Now = r.now()
	var secrets corev1.SecretList
	if err := r.live.List(ctx, &secrets, client.InNamespace(cluster.Namespace),
		client.MatchingLabels(desired.ComponentLabels(cluster.Name, desired.TLSComponent))); err != nil {
		return nil, fmt.Errorf("listing the Secrets of %s: %w", cluster.Name, err)
	}
	if err := r.observeParties(ctx, v, secrets.Items); err != nil {
		return nil, err
	}
	if err := r.observeRecord(ctx, v, secrets.Items); err != nil {
		return nil, err
	}
	named := v.generationsNamed(secrets.Items)
	v.observed.GenerationSeen = named.highest()
	if err := r.observeAuthorities(ctx, v, named, secrets.Items); err != nil {
		return nil, err
	}
	r.observeCustoms(ctx, v)
	if err := r.observeLedger(ctx, v, secrets.Items); err != nil {
		return nil, err
	}
	if err := r.observePods(ctx, v); err != nil {
		return nil, err
	}
	if err := r.observePublicTrust(ctx, v); err != nil {
		return nil, err
	}
	if err := r.observeUnwanted(ctx, v, secrets.Items); err != nil {
		return nil, err
	}
	return v, nil
}

// observeUnwanted finds the material of parties that are gone. What still has a StatefulSet, a Deployment or a
// pod is on its way out and needs it.
func (r *Reconciler) observeUnwanted(ctx context.Context, v *view, secrets []corev1.Secret) error {
	for i := range secrets {
		secret := &secrets[i]
		holder, isMaterial := strings.CutSuffix(secret.Name, desired.MaterialSecret(""))
		if !isMaterial || secret.Labels[domainLabel] != "" || v.party(secret.Name) != nil || !metav1.IsControlledBy(secret, v.cluster) {
			continue
		}
		isMaterial = !v.held[secret.Name] && secret.DeletionTimestamp.IsZero()
		key := client.ObjectKey{Namespace: v.cluster.Namespace, Name: holder}
		for _, object := range []client.Object{&appsv1.StatefulSet{}, &appsv1.Deployment{}} {
			err := r.live.Get(ctx, key, object)
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("looking for who uses Secret %s: %w", secret.Name, err)
			}
			isMaterial = isMaterial && apierrors.IsNotFound(err)
		}
		if !isMaterial {
			v.observed.Leftovers = append(v.observed.Leftovers, leftovers(secret)...)
		} else {
			v.observed.Unwanted = append(v.observed.Unwanted, secret.Name)
			v.material[secret.Name] = secret
		}
	}
	return nil
}

// observeAuthorities reads the authorities. Those that are in use, or are to be
// made, are looked for by name: a Secret without labels is in nobody's list.
func (r *Reconciler) observeAuthorities(ctx context.Context, v *view, named namedGenerations, secrets []corev1.Secret) error {
	for _, domain := range rotation.Domains() {
		generations := slices.Sorted(maps.Keys(named[domain]))
		if len(generations) == 0 {
			generations = []int{1}
		}
		for _, generation := range generations {
			found, err := r.findAuthority(ctx, v, desired.AuthoritySecret(v.cluster.Name, string(domain), generation), secrets)
			if err != nil {
				return err
			}
			secrets = append(secrets, found...)
		}
	}
	v.authorities = readAuthorities(v, secrets)
	v.addLost(named, secrets)
	for _, stored := range v.authorities {
		v.observed.Authorities = append(v.observed.Authorities, stored.facts)
		stored.index(v.certificates)
	}
	return nil
}

// findAuthority returns the Secrets of an authority that are not among those that were listed.
func (r *Reconciler) findAuthority(ctx context.Context, v *view, name string, secrets []corev1.Secret) (found []corev1.Secret, err error) {
	for _, name := range []string{name, name + copySuffix} {
		secret, listed, err := r.findSecret(ctx, v, name, secrets)
		if err != nil {
			return nil, err
		}
		if secret != nil && !listed {
			found = append(found, *secret)
		}
		if secret != nil && secret.DeletionTimestamp.IsZero() {
			break // a copy does not matter
		}
	}
	return found, nil
}

func (r *Reconciler) observeParties(ctx context.Context, v *view, secrets []corev1.Secret) error {
	var services corev1.ServiceList
	if err := r.client.List(ctx, &services, client.InNamespace(v.cluster.Namespace),
		client.MatchingLabels(desired.ClusterLabels(v.cluster.Name))); err != nil {
		return fmt.Errorf("listing the Services of %s: %w", v.cluster.Name, err)
	}
	for _, party := range partiesOf(v.cluster, r.options.ClusterDomain, services.Items) {
		secret, _, err := r.findSecret(ctx, v, party.Name, secrets)
		switch {
		case err != nil:
			return err
		case secret == nil && !servicesExist(v.cluster.Name, party.Kind, services.Items):
			continue // its addresses are not known yet: a leaf of now would lack names in a moment
		case secret == nil:
			party.Material.State = rotation.Missing
		case !metav1.IsControlledBy(secret, v.cluster):
			party.Material.State = rotation.Foreign
		default:
			v.material[party.Name] = secret
			party.Material = inspectParty(&party, secret, v.observed.Now)
		}
		v.observed.Parties = append(v.observed.Parties, party)
	}
	return nil
}

// servicesExist reports whether the Services that lead to a party are there, with their addresses.
func servicesExist(cluster string, kind rotation.Kind, services []corev1.Service) bool {
	var names []string
	switch kind {
	case rotation.Instance:
		names = []string{desired.PrimaryService(cluster), desired.ReplicaService(cluster)}
	case rotation.Pooler:
		names = []string{desired.PoolerName(cluster)}
	case rotation.Operator, rotation.Application:
	}
	for _, name := range names {
		if !slices.ContainsFunc(services, func(s corev1.Service) bool { return s.Name == name }) {
			return false
		}
	}
	return true
}

// findSecret finds a Secret by name, also when somebody took its labels away; nil when there is none.
func (r *Reconciler) findSecret(ctx context.Context, v *view, name string, secrets []corev1.Secret) (secret *corev1.Secret, listed bool, err error) {
	i := slices.IndexFunc(secrets, func(s corev1.Secret) bool { return s.Name == name })
	if i >= 0 {
		return &secrets[i], true, nil
	}
	secret = &corev1.Secret{}
	err = r.live.Get(ctx, client.ObjectKey{Namespace: v.cluster.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading Secret %s: %w", name, err)
	}
	return secret, false, nil
}

func (r *Reconciler) observePublicTrust(ctx context.Context, v *view) error {
	var config corev1.ConfigMap
	err := r.live.Get(ctx, client.ObjectKey{Namespace: v.cluster.Namespace, Name: desired.CAConfigMap(v.cluster.Name)}, &config)
	trust := &v.observed.PublicTrust
	switch {
	case apierrors.IsNotFound(err):
		trust.State = rotation.Missing
	case err != nil:
		return fmt.Errorf("reading ConfigMap %s: %w", desired.CAConfigMap(v.cluster.Name), err)
	case !metav1.IsControlledBy(&config, v.cluster):
		trust.State = rotation.Foreign
	default:
		trust.State = rotation.Present
		if anchors, err := pki.ParseBundle([]byte(config.Data[authorityCertificate])); err == nil {
			trust.Anchors = fingerprints(anchors)
		}
	}
	return nil
}

// observePods lists the pods that serve, with reports and proofs.
func (r *Reconciler) observePods(ctx context.Context, v *view) error {
	var pods corev1.PodList
	if err := r.live.List(ctx, &pods, client.InNamespace(v.cluster.Namespace),
		client.MatchingLabels(desired.ClusterLabels(v.cluster.Name))); err != nil {
		return fmt.Errorf("listing the pods of %s: %w", v.cluster.Name, err)
	}
	identity := r.identity(v)
	watched := map[evidence.Run]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		v.held[partyOfPod(pod)] = true
		if v.party(partyOfPod(pod)) == nil || !serves(pod) {
			continue
		}
		v.pods[pod.Name] = pod
		watched[runOf(pod)] = true
		r.agents.Watch(runOf(pod), evidence.Target{
			Cluster: client.ObjectKeyFromObject(v.cluster), Pod: pod.Name,
			ServerName: serverName(v.cluster, pod), Identity: identity,
		})
	}
	r.agents.KeepOnly(client.ObjectKeyFromObject(v.cluster), watched)
	r.proofs.KeepOnly(client.ObjectKeyFromObject(v.cluster), watched)
	r.sweeps.keepOnly(client.ObjectKeyFromObject(v.cluster), watched)
	r.agents.Await(ctx, watched)
	undelivered := map[types.UID]bool{}
	for _, name := range slices.Sorted(maps.Keys(v.pods)) {
		if pod := v.pods[name]; r.observePod(v, pod) {
			undelivered[pod.UID] = true
		}
	}
	r.nudges.keepOnly(client.ObjectKeyFromObject(v.cluster), undelivered)
	return nil
}

// observePod adds what is known of a pod, and tells whether the kubelet has not delivered what the pod was asked for.
func (r *Reconciler) observePod(v *view, pod *corev1.Pod) (undelivered bool) {
	report := r.agents.Report(runOf(pod))
	party := v.party(partyOfPod(pod))
	if servesNothing(pod, report) && !r.inDoubt(pod, party) {
		return false
	}
	v.endpoints[pod.Name] = endpointsOf(v.cluster, pod)
	seen := rotation.Pod{
		Name:    pod.Name,
		Primary: desired.IsPrimaryRole(pod.Labels[desired.RoleLabel]),
		Asked:   pod.Annotations[activateAnnotation],
		Report:  reportFacts(report, v.observed.Now),
		Proofs:  r.proofs.Of(pod.UID, v.endpoints[pod.Name], v.observed.Now),
		Swept:   r.sweeps.of(pod.UID),
	}
	if undelivered = isUndelivered(report, seen.Asked); undelivered {
		seen.NudgeAt = r.nudges.due(client.ObjectKeyFromObject(v.cluster), pod.UID, seen.Asked, v.observed.Now)
	}
	party.Pods = append(party.Pods, seen)
	return undelivered
}

// isUndelivered reports whether an agent is known to lack the files of the revision that its pod was asked to use, or
// the request itself: they come in two volumes.
func isUndelivered(report *agentapi.Report, asked string) bool {
	return report != nil && asked != "" && (report.Mounted != asked || report.Asked != asked)
}

// inDoubt reports whether a pod was asked to use what is published and was never seen to serve it: if its
// process is down, that may be why, and nobody else is to follow.
func (r *Reconciler) inDoubt(pod *corev1.Pod, party *rotation.Party) bool {
	asked := pod.Annotations[activateAnnotation]
	return asked != "" && asked == party.Material.Revision && !r.proofs.Saw(pod.UID, asked)
}

func runOf(pod *corev1.Pod) evidence.Run {
	return evidence.Run{UID: pod.UID, Address: pod.Status.PodIP}
}

// partyOfPod names the material Secret of a pod.
func partyOfPod(pod *corev1.Pod) string {
	switch pod.Labels[desired.ComponentLabel] {
	case desired.InstanceComponent:
		return desired.MaterialSecret(pod.Labels[desired.InstanceLabel])
	case desired.PoolerComponent:
		return desired.MaterialSecret(desired.PoolerName(pod.Labels[desired.ClusterLabel]))
	}
	return ""
}

// serves reports whether a pod may serve something: its agent has started, or
// what the agent let start runs. An agent that has crashed since is not started,
// and the pod goes on serving: nothing is known of it, and unknown is no.
func serves(pod *corev1.Pod) bool {
	if !pod.DeletionTimestamp.IsZero() || pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
		return false
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name == desired.AgentContainer && status.Started != nil && *status.Started {
			return true
		}
	}
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(status corev1.ContainerStatus) bool {
		return status.State.Running != nil
	})
}

// servesNothing reports whether the process beside the agent is known to be down:
// such a pod holds nobody up, and starts with what is installed.
func servesNothing(pod *corev1.Pod, report *agentapi.Report) bool {
	up := containerReady(pod, desired.DatabaseContainer) || containerReady(pod, desired.PoolerContainer)
	return !up && report != nil && report.Problem != nil && report.Problem.Reason == agentapi.ProcessNotReady
}

func containerReady(pod *corev1.Pod, name string) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == name {
			return status.Ready
		}
	}
	return false
}

func reportFacts(report *agentapi.Report, now time.Time) *rotation.Report {
	if report == nil {
		return nil
	}
	facts := &rotation.Report{
		Active: report.Active, Mounted: report.Mounted, Asked: report.Asked, Lists: report.RevocationLists,
		Loaded: rotation.Bundles{Server: report.ServerAnchors, Client: report.ClientAnchors},
	}
	for _, r := range report.Refused {
		until := now
		if r.Until != nil {
			until = *r.Until
		}
		facts.Refused = append(facts.Refused, rotation.Refused{IssuerKeyID: r.Issuer, Count: int(min(r.Count, math.MaxInt32)), Served: until.Sub(r.Since)})
	}
	for _, leaf := range []*agentapi.Leaf{report.ServerLeaf, report.ClientLeaf, report.ServedLeaf, report.PresentedLeaf} {
		if leaf != nil && (facts.ActiveUntil.IsZero() || leaf.NotAfter.Before(facts.ActiveUntil)) {
			facts.ActiveUntil = leaf.NotAfter
		}
	}
	if report.Problem != nil {
		facts.ProblemReason, facts.ProblemMessage = string(report.Problem.Reason), report.Problem.Message
	}
	return facts
}

func (v *view) party(name string) *rotation.Party {
	for i := range v.observed.Parties {
		if v.observed.Parties[i].Name == name {
			return &v.observed.Parties[i]
		}
	}
	return nil
}

// authority returns the generation that a step is about; the plan names only stored ones.
func (v *view) authority(step rotation.Step) *storedAuthority {
	for _, stored := range v.authorities {
		if stored.facts.Domain == step.Domain && stored.facts.Generation == step.Generation {
			return stored
		}
	}
	return nil
}
