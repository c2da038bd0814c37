package tls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
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
	material    map[string]*corev1.Secret // by party; absent when there is none
	pods        map[string]*corev1.Pod    // by name
	endpoints   map[string][]endpoint     // by pod
}

// observe reads everything. Secrets are read live, so that what was written a
// moment ago is seen; pods come from the cache, where being late does no harm.
func (r *Reconciler) observe(ctx context.Context, cluster *v1beta1.PostgresCluster) (*view, error) {
	v := &view{
		cluster: cluster, policy: policyOf(cluster),
		material: map[string]*corev1.Secret{}, pods: map[string]*corev1.Pod{}, endpoints: map[string][]endpoint{},
	}
	v.observed.Now = r.now()
	var secrets corev1.SecretList
	if err := r.live.List(ctx, &secrets, client.InNamespace(cluster.Namespace),
		client.MatchingLabels(desired.ComponentLabels(cluster.Name, desired.TLSComponent))); err != nil {
		return nil, fmt.Errorf("listing the Secrets of %s: %w", cluster.Name, err)
	}
	v.authorities = readAuthorities(v, secrets.Items)
	for _, stored := range v.authorities {
		v.observed.Authorities = append(v.observed.Authorities, stored.facts)
	}
	if err := r.observeParties(ctx, v, secrets.Items); err != nil {
		return nil, err
	}
	if err := r.observePods(ctx, v); err != nil {
		return nil, err
	}
	if err := r.observePublicTrust(ctx, v); err != nil {
		return nil, err
	}
	v.observed.GenerationSeen = v.generationsSeen(secrets.Items)
	return v, nil
}

func (r *Reconciler) observeParties(ctx context.Context, v *view, secrets []corev1.Secret) error {
	var services corev1.ServiceList
	if err := r.client.List(ctx, &services, client.InNamespace(v.cluster.Namespace),
		client.MatchingLabels(desired.ClusterLabels(v.cluster.Name))); err != nil {
		return fmt.Errorf("listing the Services of %s: %w", v.cluster.Name, err)
	}
	v.observed.Parties = partiesOf(v.cluster, r.options.ClusterDomain, services.Items)
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		secret, err := r.materialSecret(ctx, v, party.Name, secrets)
		switch {
		case err != nil:
			return err
		case secret == nil:
			party.Material.State = rotation.Missing
		case !metav1.IsControlledBy(secret, v.cluster):
			party.Material.State = rotation.Foreign
		default:
			v.material[party.Name] = secret
			party.Material = inspect(secret, party.Wants, v.observed.Now)
		}
	}
	return nil
}

// materialSecret finds a Secret by name, also when somebody took its labels away.
func (r *Reconciler) materialSecret(ctx context.Context, v *view, name string, listed []corev1.Secret) (*corev1.Secret, error) {
	i := slices.IndexFunc(listed, func(s corev1.Secret) bool { return s.Name == name })
	if i >= 0 {
		return &listed[i], nil
	}
	var secret corev1.Secret
	err := r.live.Get(ctx, client.ObjectKey{Namespace: v.cluster.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", name, err)
	}
	return &secret, nil
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

// observePods lists the pods whose agent has started, with reports and proofs.
func (r *Reconciler) observePods(ctx context.Context, v *view) error {
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(v.cluster.Namespace),
		client.MatchingLabels(desired.ClusterLabels(v.cluster.Name))); err != nil {
		return fmt.Errorf("listing the pods of %s: %w", v.cluster.Name, err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	identity := r.identity(v)
	watched := map[agentKey]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		party := v.party(partyOfPod(pod))
		if party == nil || !agentStarted(pod) {
			continue
		}
		v.pods[pod.Name] = pod
		v.endpoints[pod.Name] = endpointsOf(v.cluster, pod)
		key := agentKey{uid: pod.UID, address: pod.Status.PodIP}
		watched[key] = true
		r.agents.watch(key, agentTarget{
			cluster: client.ObjectKeyFromObject(v.cluster), pod: pod.Name,
			serverName: serverName(v.cluster, pod), identity: identity,
		})
		report := r.agents.report(key)
		if servesNothing(pod, report) {
			continue
		}
		party.Pods = append(party.Pods, rotation.Pod{
			Name:    pod.Name,
			Primary: desired.IsPrimaryRole(pod.Labels[desired.RoleLabel]),
			Asked:   pod.Annotations[activateAnnotation],
			Report:  reportFacts(report),
			Proofs:  r.proofs.of(pod.UID, v.endpoints[pod.Name], v.observed.Now),
		})
	}
	r.agents.keepOnly(client.ObjectKeyFromObject(v.cluster), watched)
	r.proofs.keepOnly(client.ObjectKeyFromObject(v.cluster), watched)
	return nil
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

// agentStarted reports whether a pod's agent has installed material and serves.
func agentStarted(pod *corev1.Pod) bool {
	if !pod.DeletionTimestamp.IsZero() || pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
		return false
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name == desired.AgentContainer {
			return status.Started != nil && *status.Started
		}
	}
	return false
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

func reportFacts(report *agentapi.Report) *rotation.Report {
	if report == nil {
		return nil
	}
	facts := &rotation.Report{Active: report.Active, Mounted: report.Mounted}
	for _, leaf := range []*agentapi.Leaf{report.ServerLeaf, report.ClientLeaf} {
		if leaf != nil && (facts.ActiveUntil.IsZero() || leaf.NotAfter.Before(facts.ActiveUntil)) {
			facts.ActiveUntil = leaf.NotAfter
		}
	}
	if report.Problem != nil {
		facts.ProblemReason, facts.ProblemMessage = string(report.Problem.Reason), report.Problem.Message
	}
	return facts
}

// generationsSeen returns the highest generation that any material of the cluster names.
func (v *view) generationsSeen(secrets []corev1.Secret) map[rotation.Domain]int {
	seen := map[rotation.Domain]int{}
	for i := range secrets {
		if secrets[i].Labels[domainLabel] != "" || !metav1.IsControlledBy(&secrets[i], v.cluster) {
			continue
		}
		for _, domain := range rotation.Domains() {
			anchors, err := pki.ParseBundle(secrets[i].Data[bundleFiles[domain]])
			if err != nil {
				continue
			}
			for _, anchor := range anchors {
				n := generationNamed(v.cluster.Name, domain, pki.Facts(anchor).Subject)
				seen[domain] = max(seen[domain], n)
			}
		}
	}
	return seen
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

var errNoSigner = errors.New("no authority can sign")

// signer returns the authority of a domain that signs.
func (v *view) signer(domain rotation.Domain) (*storedAuthority, error) {
	for _, stored := range v.authorities {
		if stored.facts.Domain == domain && stored.facts.Problem == "" && stored.authority != nil {
			return stored, nil
		}
	}
	return nil, fmt.Errorf("finding the %s authority: %w", domain, errNoSigner)
}
