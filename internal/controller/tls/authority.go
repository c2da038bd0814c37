package tls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

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
	authority      *pki.Authority // nil when it cannot be read
	original, twin *corev1.Secret
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
		s.authority = authority
		s.facts.Certificate = pki.Facts(authority.Certificate)
		if s.facts.Problem == rotation.AuthorityUnreadable {
			s.facts.Problem, s.facts.Message = "", ""
		}
	case err != nil && s.authority == nil:
		s.refuse(rotation.AuthorityUnreadable, fmt.Sprintf("Secret %s holds no usable authority (%s): restore it from a backup", secret.Name, err))
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
	secret := r.authoritySecret(v, step, map[string][]byte{authorityCertificate: authority.EncodeCertificate(), authorityKey: key})
	if err := r.create(ctx, v, secret); err != nil {
		return err
	}
	r.event(v, eventNormal, eventIssued, "the %s authority g%d was made, valid until %s", step.Domain, step.Generation,
		authority.Certificate.NotAfter.UTC().Format(timeLayout))
	return nil
}

// copyAuthority stores an authority a second time.
func (r *Reconciler) copyAuthority(ctx context.Context, v *view, step rotation.Step) error {
	stored := v.authority(step)
	secret := r.authoritySecret(v, step, stored.original.Data)
	secret.Name += copySuffix
	if err := r.create(ctx, v, secret); err != nil {
		return err
	}
	r.event(v, eventWarning, string(rotation.ReasonBeingDeleted), "Secret %s was deleted; the authority is kept and restored", stored.original.Name)
	return nil
}

// restoreAuthority stores an authority under its own name again.
func (r *Reconciler) restoreAuthority(ctx context.Context, v *view, step rotation.Step) error {
	return r.create(ctx, v, r.authoritySecret(v, step, v.authority(step).twin.Data))
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
