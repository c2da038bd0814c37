package tls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// execute takes the steps of a plan in order and stops at the first that fails.
// Every invariant is checked before each.
func (r *Reconciler) execute(ctx context.Context, v *view, plan rotation.Plan) error {
	for _, step := range plan.Steps {
		if step.Op == rotation.Activate && step.Revision == "" {
			step.Revision = v.party(step.Party).Material.Revision
		}
		if violation := rotation.Check(v.observed, step); violation != nil {
			return fmt.Errorf("refusing %s: %w", step, violation)
		}
		if err := r.take(ctx, v, step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

func (r *Reconciler) take(ctx context.Context, v *view, step rotation.Step) error {
	switch step.Op {
	case rotation.CreateAuthority, rotation.TrustNew:
		return r.createAuthority(ctx, v, step)
	case rotation.CopyAuthority:
		return r.copyAuthority(ctx, v, step)
	case rotation.RestoreAuthority:
		return r.restoreAuthority(ctx, v, step)
	case rotation.ReleaseAuthority:
		return r.releaseAuthority(ctx, v, step)
	case rotation.SwitchSigner, rotation.RollBack, rotation.DropOld:
		return r.mark(ctx, v, step)
	case rotation.DiscardAuthority:
		proof, err := r.refused(ctx, v, v.authority(step))
		if err != nil {
			return err
		}
		return r.discardAuthority(ctx, v, step, proof)
	case rotation.AdmitAnchor, rotation.NoteUnused, rotation.DropAnchor:
		return r.note(ctx, v, step)
	case rotation.PublishTrust:
		return r.publishTrust(ctx, v)
	case rotation.Publish:
		return r.publish(ctx, v, step)
	case rotation.Activate:
		return r.activate(ctx, v, step)
	case rotation.Discard:
		return r.applier.Delete(ctx, v.material[step.Party])
	case rotation.Revoke:
		return r.revoke(ctx, v, step)
	case rotation.EndSessions:
		return r.sweep(ctx, v, step)
	case rotation.Nudge:
		return r.nudge(ctx, v, step)
	case rotation.Prove:
		return r.prove(ctx, v, step)
	}
	return fmt.Errorf("unknown operation %s", step.Op)
}

// publish writes a party's material and reads it back into the view, so that
// the steps that follow see what was really stored.
func (r *Reconciler) publish(ctx context.Context, v *view, step rotation.Step) error {
	party := v.party(step.Party)
	data, err := r.materialData(v, party, step)
	if err != nil {
		return err
	}
	proof, err := v.accepted(step, data)
	if err != nil {
		return err
	}
	if party.Kind == rotation.Application {
		if err := r.noteIssued(ctx, v, party, step, data); err != nil {
			return err
		}
		data, proof = proof.forApplication(data)
	}
	secret := r.secret(v, party.Name, data)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, revisionAnnotation, pki.Revision(data))
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, answeredAnnotation, answered(v, party, step))
	if party.Kind == rotation.Application {
		secret.Labels[applicationLabel] = party.User
	}
	if err := r.store(ctx, v, secret, proof); err != nil {
		return err
	}
	party.Material = inspectParty(party, secret, v.observed.Now)
	v.material[party.Name] = secret
	for _, domain := range step.Reissue {
		for _, leaf := range party.Material.Leaves {
			if leaf.Domain == domain {
				r.event(v, eventNormal, eventIssued, "%s leaf %s of %s, valid until %s (%s)",
					domain, leaf.Serial, party.Name, leaf.NotAfter.Format(timeLayout), step.Reason)
			}
		}
	}
	return nil
}

// answered is the renew request that material answers: only a fresh leaf in every domain does.
func answered(v *view, party *rotation.Party, step rotation.Step) string {
	if len(step.Reissue) == len(party.Wants) {
		return v.policy.RenewRequest
	}
	return party.Material.Answered
}

// materialData is the whole content of a material Secret: what is reissued, and what is kept.
func (r *Reconciler) materialData(v *view, party *rotation.Party, step rotation.Step) (map[string][]byte, error) {
	data := map[string][]byte{}
	old := v.material[party.Name]
	switch party.Kind {
	case rotation.Application:
		old = asMaterial(old)
	case rotation.Instance:
		if err := v.addRevocation(data, old); err != nil {
			return nil, err
		}
	case rotation.Operator, rotation.Pooler:
	}
	for _, domain := range rotation.Domains() {
		bundle, err := v.bundle(domain)
		switch {
		case err != nil:
			return nil, err
		case bundle == nil && old != nil:
			bundle = old.Data[bundleFiles[domain]]
		}
		data[bundleFiles[domain]] = bundle
	}
	for _, want := range party.Wants {
		pair, err := pairFor(v, old, want, slices.Contains(step.Reissue, want.Domain))
		if err != nil {
			return nil, fmt.Errorf("making the %s leaf of %s: %w", want.Domain, party.Name, err)
		}
		files := pairFiles[want.Domain]
		data[files.certificate], data[files.key] = pair.certificate, pair.key
		if !hasProcess(party.Wants) {
			continue
		}
		if pair, err = processPair(v, party, want.Domain, step, pair); err != nil {
			return nil, fmt.Errorf("taking the custom %s certificate of %s: %w", want.Domain, party.Name, err)
		}
		process := processFiles[want.Domain]
		data[process.certificate], data[process.key] = pair.certificate, pair.key
	}
	return data, nil
}

// pair is a chain and a key as they are stored.
type pair struct{ certificate, key []byte }

// pairFor issues a leaf, or keeps the one that there is, with the bridges of today.
func pairFor(v *view, old *corev1.Secret, want rotation.LeafWant, reissue bool) (pair, error) {
	var keys *pki.KeyPair
	var err error
	if reissue || old == nil {
		keys, err = issue(v, want)
	} else {
		files := pairFiles[want.Domain]
		if keys, err = pki.ParseKeyPair(old.Data[files.certificate], old.Data[files.key]); err != nil {
			return pair{old.Data[files.certificate], old.Data[files.key]}, nil // damaged, and nobody can sign another: no pod will take it
		}
	}
	if err != nil {
		return pair{}, err
	}
	if keys.Chain, err = v.chain(want.Domain, keys.Leaf()); err != nil {
		return pair{}, err
	}
	key, err := keys.EncodeKey()
	if err != nil {
		return pair{}, fmt.Errorf("encoding the key: %w", err)
	}
	return pair{keys.EncodeChain(), key}, nil
}

// issue makes a leaf with a fresh key. It ends no later than its authority.
func issue(v *view, want rotation.LeafWant) (*pki.KeyPair, error) {
	signer, err := v.signer(want.Domain)
	if err != nil {
		return nil, err
	}
	addresses := make([]netip.Addr, 0, len(want.IPs))
	for _, text := range want.IPs {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("reading address %q: %w", text, err)
		}
		addresses = append(addresses, address)
	}
	notAfter := v.observed.Now.Add(want.Life)
	if end := signer.authority.Certificate.NotAfter; notAfter.After(end) {
		notAfter = end
	}
	return signer.authority.Issue(pki.LeafRequest{
		CommonName: want.CommonName, DNSNames: want.DNSNames, IPAddresses: addresses,
		Usage: usages[want.Domain], Algorithm: want.Algorithm,
		NotBefore: v.observed.Now.Add(-backdate(want.Life)), NotAfter: notAfter,
	})
}

// activate asks a pod to use what is published for it. The one patch also makes
// the kubelet refresh the pod's volumes at once.
func (r *Reconciler) activate(ctx context.Context, v *view, step rotation.Step) error {
	changed, err := r.applier.PatchPodAnnotation(ctx, v.pods[step.Pod], activateAnnotation, step.Revision)
	if err != nil {
		return client.IgnoreNotFound(err) // a pod that is gone serves nothing
	}
	if changed {
		r.event(v, eventNormal, eventActivated, "pod %s was asked to use revision %s of %s", step.Pod, step.Revision, step.Party)
	}
	return nil
}

// nudge changes a pod, so that its kubelet looks again at what is to be delivered.
func (r *Reconciler) nudge(ctx context.Context, v *view, step rotation.Step) error {
	pod := v.pods[step.Pod]
	_, err := r.applier.PatchPodAnnotation(ctx, pod, nudgeAnnotation, r.nudges.take(pod.UID, step.Revision, r.now()))
	return client.IgnoreNotFound(err)
}

// prove handshakes with every port of a pod. What it sees is a fact for the next plan, not an error.
func (r *Reconciler) prove(ctx context.Context, v *view, step rotation.Step) error {
	pod := v.pods[step.Pod]
	revoked, err := v.revokedCanary(v.party(step.Party))
	if err != nil {
		return err
	}
	seen := r.proofs.Prove(ctx, evidence.Request{
		Run: runOf(pod), Cluster: client.ObjectKeyFromObject(v.cluster), ServerName: serverName(v.cluster, pod),
		Endpoints: v.endpoints[step.Pod], Identity: r.identity(v), Revision: step.Revision,
		Party: v.party(step.Party), Now: r.now(), Revoked: revoked,
	})
	if seen != "" && !v.told(step.Pod, seen) {
		r.event(v, eventNormal, eventProven, "pod %s was seen to serve leaf %s on every port", step.Pod, seen)
	}
	return nil
}

// publishTrust writes the bundle that clients read.
func (r *Reconciler) publishTrust(ctx context.Context, v *view) error {
	bundle, err := v.bundle(rotation.Server)
	if err != nil {
		return err
	}
	config := &corev1.ConfigMap{
		ObjectMeta: desired.Meta(v.cluster, desired.CAConfigMap(v.cluster.Name), desired.ComponentLabels(v.cluster.Name, desired.TLSComponent), v.cluster.Spec.Metadata),
		Data:       map[string]string{authorityCertificate: string(bundle)},
	}
	_, err = r.applier.Apply(ctx, config)
	return err
}

// secret is a Secret of this controller, with everything but its meaning.
func (r *Reconciler) secret(v *view, name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: desired.Meta(v.cluster, name, desired.ComponentLabels(v.cluster.Name, desired.TLSComponent), v.cluster.Spec.Metadata),
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}

var errUnproven = errors.New("nobody has verified its content")

// errLookAgain ends a plan early: what was written is to be observed first.
var errLookAgain = errors.New("to be observed again")

// store writes the data of a material Secret as a whole: what somebody added to
// it must go, or its revision would be another than the one that the pods are
// asked for. It replaces exactly the Secret that was observed, or creates it.
func (r *Reconciler) store(ctx context.Context, v *view, secret *corev1.Secret, proof acceptance) error {
	if proof.revision != pki.Revision(secret.Data) {
		return fmt.Errorf("writing Secret %s: %w", secret.Name, errUnproven)
	}
	old := v.material[secret.Name]
	switch {
	case old == nil:
		return r.create(ctx, v, secret)
	case old.Immutable == nil || !*old.Immutable:
		return r.update(ctx, old, secret)
	case !old.DeletionTimestamp.IsZero():
		return fmt.Errorf("writing Secret %s: it is immutable, and being deleted, and the finalizers %q hold it", secret.Name, old.Finalizers)
	}
	if err := r.applier.Delete(ctx, old); err != nil {
		return err
	}
	return errLookAgain // and made anew
}

// update leaves to others the labels, annotations and finalizers that are theirs. secret becomes what is stored.
func (r *Reconciler) update(ctx context.Context, old, secret *corev1.Secret) error {
	next := old.DeepCopy()
	next.Data = secret.Data
	for key, value := range secret.Labels {
		metav1.SetMetaDataLabel(&next.ObjectMeta, key, value)
	}
	for key, value := range secret.Annotations {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, key, value)
	}
	if err := r.client.Update(ctx, next, r.applier.Owner); err != nil {
		return fmt.Errorf("writing Secret %s: %w", secret.Name, err)
	}
	*secret = *next
	return nil
}

func (r *Reconciler) create(ctx context.Context, v *view, secret *corev1.Secret) error {
	if err := r.client.Create(ctx, secret, r.applier.Owner); err != nil {
		return fmt.Errorf("creating Secret %s: %w", secret.Name, err)
	}
	if !metav1.IsControlledBy(secret, v.cluster) {
		return fmt.Errorf("creating Secret %s: it came back without its owner", secret.Name)
	}
	return nil
}
