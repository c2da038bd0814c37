package kube

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// Lean is a transformation of what a cache holds: objects lose the record of who owns which field, and share the texts that many of them
// have, such as the keys of labels, the owner's UID, a trust bundle and the names in a pod template. 1,000 clusters have 30,000 objects.
// Nothing that a cache holds may be changed, as ever: what it gives away is a copy.
func Lean() toolscache.TransformFunc {
	shared := &sharedTexts{
		texts: map[string]string{}, bundles: map[[sha256.Size]byte][]byte{}, labels: map[string]map[string]string{},
		owners: map[metav1.OwnerReference][]metav1.OwnerReference{}, containers: map[string][]corev1.Container{},
		flags: map[bool]*bool{true: ptr.To(true), false: ptr.To(false)},
	}
	return func(object any) (any, error) {
		if whole, ok := object.(metav1.Object); ok {
			whole.SetManagedFields(nil)
			shared.metadata(whole)
		}
		switch o := object.(type) {
		case *corev1.Secret:
			shared.secret(o)
		case *appsv1.StatefulSet:
			shared.template(&o.Spec.Template)
			shared.selectors(o.Spec.Selector)
		case *appsv1.Deployment:
			shared.template(&o.Spec.Template)
			shared.selectors(o.Spec.Selector)
		case *policyv1.PodDisruptionBudget:
			shared.selectors(o.Spec.Selector)
		case *networkingv1.NetworkPolicy:
			shared.selectors(&o.Spec.PodSelector)
		}
		return object, nil
	}
}

// mostShared bounds how many texts are remembered to be shared. When there are more, it begins anew.
const (
	mostShared     = 16384
	mostContainers = 256 // there are as many as there are different sizes of instances and poolers
)

// sharedTexts are texts that objects have in common. Keys and passwords are never among them: they would outlive their Secret.
type sharedTexts struct {
	mu      sync.Mutex
	texts   map[string]string
	bundles map[[sha256.Size]byte][]byte

	labels     map[string]map[string]string
	owners     map[metav1.OwnerReference][]metav1.OwnerReference
	containers map[string][]corev1.Container
	flags      map[bool]*bool
}

func (s *sharedTexts) text(text string) string {
	if text == "" {
		return text
	}
	if known, ok := s.texts[text]; ok {
		return known
	}
	if len(s.texts) >= mostShared {
		clear(s.texts)
	}
	s.texts[text] = text
	return text
}

func (s *sharedTexts) all(texts ...*string) {
	for _, text := range texts {
		*text = s.text(*text)
	}
}

func (s *sharedTexts) metadata(object metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object.SetNamespace(s.text(object.GetNamespace()))
	object.SetLabels(s.set(object.GetLabels()))
	object.SetAnnotations(s.keys(object.GetAnnotations()))
	object.SetOwnerReferences(s.owner(object.GetOwnerReferences()))
}

// owner returns references that are equal to these: most objects have one owner.
func (s *sharedTexts) owner(references []metav1.OwnerReference) []metav1.OwnerReference {
	if len(references) != 1 {
		return references
	}
	key := references[0] // by value, and its two pointers by what they point at
	for _, flag := range []**bool{&key.Controller, &key.BlockOwnerDeletion} {
		if *flag != nil {
			*flag = s.flags[**flag]
		}
	}
	if known, ok := s.owners[key]; ok {
		return known
	}
	if len(s.owners) >= mostShared {
		clear(s.owners)
	}
	s.owners[key] = []metav1.OwnerReference{key}
	return s.owners[key]
}

// set returns labels that are equal to these: the objects of one component of a cluster have the same.
func (s *sharedTexts) set(from map[string]string) map[string]string {
	if len(from) == 0 {
		return from
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(from)) {
		key.WriteString(name + "=" + from[name] + ",") // which are no part of a label
	}
	if known, ok := s.labels[key.String()]; ok {
		return known
	}
	if len(s.labels) >= mostShared {
		clear(s.labels)
	}
	to := s.keys(from)
	for name, value := range to {
		to[name] = s.text(value)
	}
	s.labels[key.String()] = to
	return to
}

// keys returns a map of which the keys are shared.
func (s *sharedTexts) keys(from map[string]string) map[string]string {
	if from == nil {
		return nil
	}
	to := make(map[string]string, len(from))
	for key, value := range from {
		to[s.text(key)] = value
	}
	return to
}

var certificatePrefix = []byte("-----BEGIN CERTIFICATE-----")

// secret shares what is public in a Secret: certificates.
func (s *sharedTexts) secret(secret *corev1.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret.Data == nil {
		return
	}
	data := make(map[string][]byte, len(secret.Data))
	for key, value := range secret.Data {
		if bytes.HasPrefix(value, certificatePrefix) && !bytes.Contains(value, []byte("PRIVATE KEY")) {
			value = s.bundle(value)
		}
		data[s.text(key)] = value
	}
	secret.Data = data
}

func (s *sharedTexts) bundle(text []byte) []byte {
	digest := sha256.Sum256(text) // as the key: the text itself would be kept twice
	if known, ok := s.bundles[digest]; ok {
		return known
	}
	if len(s.bundles) >= mostShared {
		clear(s.bundles)
	}
	s.bundles[digest] = text
	return text
}

// selectors share the labels of objects that they select.
func (s *sharedTexts) selectors(selectors ...*metav1.LabelSelector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, selector := range selectors {
		if selector != nil {
			selector.MatchLabels = s.set(selector.MatchLabels)
		}
	}
}

// template shares the containers as a whole: what differs between clusters stands in volumes and in metadata.
func (s *sharedTexts) template(template *corev1.PodTemplateSpec) {
	s.metadata(&template.ObjectMeta)
	s.mu.Lock()
	defer s.mu.Unlock()
	template.Spec.InitContainers = s.list(template.Spec.InitContainers)
	template.Spec.Containers = s.list(template.Spec.Containers)
	for i := range template.Spec.Volumes {
		s.all(&template.Spec.Volumes[i].Name)
	}
}

// list returns containers that are equal to these in everything.
func (s *sharedTexts) list(containers []corev1.Container) []corev1.Container {
	if len(containers) == 0 {
		return containers
	}
	var key []byte
	for i := range containers {
		encoded, err := containers[i].Marshal()
		if err != nil {
			return containers
		}
		key = append(binary.AppendUvarint(key, uint64(len(encoded))), encoded...)
	}
	if known, ok := s.containers[string(key)]; ok {
		return known
	}
	if len(s.containers) >= mostContainers {
		clear(s.containers)
	}
	s.containers[string(key)] = containers
	return containers
}
