package tls

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// storedAuthority is a generation with the Secrets that hold it.
type storedAuthority struct {
	facts          rotation.Authority
	authority      *pki.Authority    // nil when it cannot be read
	certificate    *x509.Certificate // of the authority; nil when it is not known
	forward        *x509.Certificate // bridges; nil when there are none
	backward       *x509.Certificate
	older          *x509.Certificate
	original, twin *corev1.Secret // nil when there are none
}

// readAuthorities finds the generations among a cluster's Secrets, by name:
// labels can be taken away.
func readAuthorities(v *view, secrets []corev1.Secret) []*storedAuthority {
	found := map[string]*storedAuthority{}
	for i := range secrets {
		secret := &secrets[i]
		domain, generation := authorityNamed(v.cluster.Name, secret.Name)
		if generation == 0 {
			continue
		}
		if isOrphan(v.cluster, secret) {
			v.orphans = append(v.orphans, secret)
			continue
		}
		name := strings.TrimSuffix(secret.Name, copySuffix)
		stored := found[name]
		if stored == nil {
			stored = &storedAuthority{facts: rotation.Authority{Domain: domain, Generation: generation}}
			found[name] = stored
		}
		stored.add(v, secret)
	}
	out := make([]*storedAuthority, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[name])
	}
	return out
}

// isOrphan reports whether an authority's Secret was an earlier cluster's of the
// same name, and went with it: only its finalizer is left.
func isOrphan(cluster *v1beta1.PostgresCluster, secret *corev1.Secret) bool {
	owner := metav1.GetControllerOf(secret)
	return !secret.DeletionTimestamp.IsZero() && owner != nil && owner.UID != cluster.UID &&
		owner.Kind == desired.OwnerReference(cluster).Kind && owner.Name == cluster.Name
}

// add takes in one of the two Secrets. The original counts when both can be read.
func (s *storedAuthority) add(v *view, secret *corev1.Secret) {
	store := rotation.Store{Present: true, Deleting: !secret.DeletionTimestamp.IsZero()}
	twin := strings.HasSuffix(secret.Name, copySuffix)
	if twin {
		s.twin, s.facts.Copy = secret, store
	} else {
		s.original, s.facts.Original = secret, store
	}
	if !metav1.IsControlledBy(secret, v.cluster) {
		s.refuse(rotation.AuthorityForeign, fmt.Sprintf("Secret %s does not belong to this cluster: rename or delete it", secret.Name))
		return
	}
	authority, err := pki.ParseAuthority(secret.Data[authorityCertificate], secret.Data[authorityKey])
	switch {
	case err == nil && (s.authority == nil || !twin):
		s.authority, s.certificate = authority, authority.Certificate
		s.facts.Certificate = pki.Facts(authority.Certificate)
		s.facts.Marks, s.facts.Created = readMarks(secret), secret.CreationTimestamp.Time
		s.forward, s.facts.Forward = readBridge(secret.Data[forwardBridge], 0)
		s.older, s.facts.Older = readBridge(secret.Data[forwardBridge], 1)
		s.backward, s.facts.Backward = readBridge(secret.Data[backwardBridge], 0)
		if s.facts.Problem == rotation.AuthorityUnreadable {
			s.facts.Problem, s.facts.Message = "", ""
		}
	case err != nil && s.authority == nil:
		s.refuse(rotation.AuthorityUnreadable, fmt.Sprintf("Secret %s holds no usable authority (%s): restore it from a backup", secret.Name, err))
	}
}

// readBridge reads one of several bridges. One that cannot be read is none: chains do without it.
func readBridge(text []byte, place int) (*x509.Certificate, rotation.Bridge) {
	certificates, err := pki.ParseBundle(text)
	if err != nil || len(certificates) <= place {
		return nil, rotation.Bridge{}
	}
	facts := pki.Facts(certificates[place])
	return certificates[place], rotation.Bridge{
		Fingerprint: facts.Fingerprint, KeyID: facts.KeyID, IssuerKeyID: facts.IssuerKeyID, NotBefore: facts.NotBefore, NotAfter: facts.NotAfter,
	}
}

func (s *storedAuthority) refuse(reason rotation.Reason, message string) {
	s.facts.Problem, s.facts.Message = reason, message
}

// createAuthority makes a generation and stores it. It only ever creates: a
// second key for a generation cannot come to be.
func (r *Reconciler) createAuthority(ctx context.Context, v *view, step rotation.Step) error {
	policy := v.policy.Authorities[step.Domain]
	generation := strconv.Itoa(step.Generation)
	authority, err := pki.NewAuthority(pki.AuthorityRequest{
		CommonName: authorityCommonName(v.cluster.Name, step.Domain, generation),
		Algorithm:  policy.Algorithm,
		NotBefore:  v.observed.Now.Add(-authorityBackdate),
		NotAfter:   v.observed.Now.Add(policy.Life),
	})
	if err != nil {
		return fmt.Errorf("making the %s authority g%d: %w", step.Domain, step.Generation, err)
	}
	key, err := authority.EncodeKey()
	if err != nil {
		return fmt.Errorf("encoding the key of the %s authority g%d: %w", step.Domain, step.Generation, err)
	}
	data := map[string][]byte{authorityCertificate: authority.EncodeCertificate(), authorityKey: key}
	if step.Bridged {
		if err := addBridges(v, step, authority, data); err != nil {
			return err
		}
	}
	secret := r.authoritySecret(v, step, data)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, answersAnnotation, v.policy.Rekey[step.Domain].Request)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, rollbackSeenAnnotation, v.policy.Rekey[step.Domain].Rollback)
	if err := r.create(ctx, v, secret); err != nil {
		return err
	}
	r.event(v, eventNormal, eventIssued, "the %s authority g%d was made, valid until %s (%s)", step.Domain, step.Generation,
		authority.Certificate.NotAfter.UTC().Format(timeLayout), step.Reason)
	if step.Message != "" { // who is refused, and that it cannot be helped
		r.events.Eventf(v.cluster, nil, eventWarning, string(step.Reason), rekeyAction[step.Domain], "%s", step.Message)
	}
	return nil
}

// rekeyAction tells the domains' events of one reason apart: those that differ in their text alone count as one.
var rekeyAction = map[rotation.Domain]string{rotation.Server: "RekeyServer", rotation.Client: "RekeyClient"}

// backBridgeLife bounds how long the old authority can be vouched for by the new one: a bridge cannot be called back.
const backBridgeLife = 24 * time.Hour

// addBridges has the authority that signs and the new one vouch for each other. They are stored with the new one's key: made
// once, and never again.
func addBridges(v *view, step rotation.Step, authority *pki.Authority, data map[string][]byte) error {
	old, err := v.signer(step.Domain)
	if err != nil {
		return err
	}
	from, until := v.observed.Now.Add(-authorityBackdate), old.certificate.NotAfter
	forward, err := old.authority.Bridge(pki.BridgeRequest{Subject: authority.Certificate, NotBefore: from, NotAfter: until})
	if err != nil {
		return fmt.Errorf("signing the bridge to g%d: %w", step.Generation, err)
	}
	backward, err := authority.Bridge(pki.BridgeRequest{Subject: old.certificate, NotBefore: from, NotAfter: v.observed.Now.Add(backBridgeLife)})
	if err != nil {
		return fmt.Errorf("signing the bridge back from g%d: %w", step.Generation, err)
	}
	path := []*x509.Certificate{forward}
	if old.forward != nil {
		path = append(path, old.forward) // its Secret will be gone before who copied the one before stops needing it
	}
	data[forwardBridge] = pki.EncodeBundle(path)
	data[backwardBridge] = pki.EncodeBundle([]*x509.Certificate{backward})
	return nil
}

// mark notes a decision on the Secret of the authority that is to sign from then on. It is one write, and only on the
// Secret that was observed: a decision made on other facts is not noted.
func (r *Reconciler) mark(ctx context.Context, v *view, step rotation.Step) error {
	on := v.authority(step)
	if step.Op != rotation.SwitchSigner {
		on = v.authority(rotation.Step{Domain: step.Domain, Generation: step.Signer})
	}
	if on == nil || on.original == nil {
		return errLookAgain // it is being restored
	}
	next := on.original.DeepCopy()
	for key, value := range marksFor(v, step, on) {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, key, value)
	}
	patch := client.MergeFromWithOptions(on.original, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, next, patch, r.applier.Owner); err != nil {
		return fmt.Errorf("marking Secret %s: %w", next.Name, err)
	}
	kind, verb := eventNormal, map[rotation.Op]string{
		rotation.SwitchSigner: "signs from now on",
		rotation.DropOld:      "is dropped from every bundle",
		rotation.RollBack:     "is withdrawn",
	}[step.Op]
	if step.Op == rotation.RollBack {
		kind = eventWarning
	}
	r.event(v, kind, string(step.Op), "the %s authority g%d %s (%s)", step.Domain, step.Generation, verb, because(step))
	return nil
}

// because is the reason of a step, and what more there is to say about it.
func because(step rotation.Step) string {
	if step.Message == "" {
		return string(step.Reason)
	}
	return string(step.Reason) + ": " + step.Message
}

var errNotRefused = errors.New("nobody has seen that what it issues is refused")

// discardAuthority deletes an authority, and its key with it.
func (r *Reconciler) discardAuthority(ctx context.Context, v *view, step rotation.Step, proof refusal) error {
	stored := v.authority(step)
	if proof != (refusal{domain: string(step.Domain), keyID: stored.facts.Certificate.KeyID}) {
		return errNotRefused
	}
	for _, secret := range []*corev1.Secret{stored.original, stored.twin} {
		if secret == nil {
			continue
		}
		if secret.DeletionTimestamp.IsZero() {
			if err := r.applier.Delete(ctx, secret); err != nil {
				return err
			}
			return nil // its finalizer holds it until the next round
		}
		if err := r.removeFinalizer(ctx, secret); err != nil {
			return err
		}
	}
	r.event(v, eventNormal, string(step.Op), "the %s authority g%d is gone, and its key with it (%s)", step.Domain, step.Generation, step.Reason)
	return nil
}

// copyAuthority stores an authority a second time.
func (r *Reconciler) copyAuthority(ctx context.Context, v *view, step rotation.Step) error {
	stored := v.authority(step)
	secret := r.authoritySecret(v, step, stored.original.Data)
	secret.Name += copySuffix
	maps.Copy(metadata(secret), marksOf(stored.original))
	if err := r.create(ctx, v, secret); err != nil {
		return err
	}
	r.event(v, eventWarning, string(rotation.ReasonBeingDeleted), "Secret %s was deleted; the authority is kept and restored", stored.original.Name)
	return nil
}

// restoreAuthority stores an authority under its own name again.
func (r *Reconciler) restoreAuthority(ctx context.Context, v *view, step rotation.Step) error {
	twin := v.authority(step).twin
	secret := r.authoritySecret(v, step, twin.Data)
	maps.Copy(metadata(secret), marksOf(twin))
	return r.create(ctx, v, secret)
}

// metadata are the annotations of a Secret, to be added to.
func metadata(secret *corev1.Secret) map[string]string {
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	return secret.Annotations
}

var errNotTheSame = errors.New("its twin does not hold the same authority")

// releaseAuthority lets go of one of the two Secrets. The plan says that the
// other one is stored; that it holds the same is looked at here.
func (r *Reconciler) releaseAuthority(ctx context.Context, v *view, step rotation.Step) error {
	stored := v.authority(step)
	secret := stored.original
	if step.Copy {
		secret = stored.twin
	}
	for _, key := range []string{authorityCertificate, authorityKey} {
		if !bytes.Equal(stored.original.Data[key], stored.twin.Data[key]) {
			return fmt.Errorf("keeping Secret %s: %w", secret.Name, errNotTheSame)
		}
	}
	if step.Copy {
		if secret.DeletionTimestamp.IsZero() {
			if err := r.applier.Delete(ctx, secret); err != nil {
				return err
			}
			return nil // its finalizer holds it until the next round
		}
	}
	return r.removeFinalizer(ctx, secret)
}

func (r *Reconciler) removeFinalizer(ctx context.Context, secret *corev1.Secret) error {
	base := secret.DeepCopy()
	if !controllerutil.RemoveFinalizer(secret, authorityFinalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, secret, patch, r.applier.Owner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("releasing Secret %s: %w", secret.Name, err)
	}
	return nil
}

func (r *Reconciler) authoritySecret(v *view, step rotation.Step, data map[string][]byte) *corev1.Secret {
	immutable := true
	secret := r.secret(v, desired.AuthoritySecret(v.cluster.Name, string(step.Domain), step.Generation), data)
	secret.Labels[domainLabel] = string(step.Domain)
	secret.Labels[generationLabel] = strconv.Itoa(step.Generation)
	secret.Finalizers = []string{authorityFinalizer}
	secret.Immutable = &immutable
	return secret
}
