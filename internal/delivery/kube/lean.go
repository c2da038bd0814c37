package kube

import (
	"bytes"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
)

// Lean is a transformation of what a cache holds: objects lose the record of who owns which field, and share the texts that many of them
// have, such as the keys of labels, the owner's UID, a trust bundle and the names in a pod template. 1,000 clusters have 30,000 objects.
// Nothing that a cache holds may be changed, as ever: what it gives away is a copy.
func Lean() toolscache.TransformFunc {
	shared := &sharedTexts{texts: map[string]string{}, bundles: map[string][]byte{}}
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
		case *appsv1.Deployment:
			shared.template(&o.Spec.Template)
		}
		return object, nil
	}
}

// mostShared bounds how many texts are remembered to be shared. When there are more, it begins anew.
const mostShared = 16384

// sharedTexts are texts that objects have in common. Keys and passwords are never among them: they would outlive their Secret.
type sharedTexts struct {
	mu      sync.Mutex
	texts   map[string]string
	bundles map[string][]byte
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
	object.SetLabels(s.values(object.GetLabels()))
	object.SetAnnotations(s.keys(object.GetAnnotations()))
	owners := object.GetOwnerReferences()
	for i := range owners {
		owner := &owners[i]
		owner.UID = typeOf(owner.UID, s.text(string(owner.UID)))
		s.all(&owner.APIVersion, &owner.Kind, &owner.Name)
	}
	object.SetOwnerReferences(owners)
}

// typeOf gives a text the type of another one.
func typeOf[T ~string](_ T, text string) T { return T(text) }

// values returns a map of which keys and values are shared.
func (s *sharedTexts) values(from map[string]string) map[string]string {
	to := s.keys(from)
	for key, value := range to {
		to[key] = s.text(value)
	}
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
	if known, ok := s.bundles[string(text)]; ok {
		return known
	}
	if len(s.bundles) >= mostShared {
		clear(s.bundles)
	}
	s.bundles[string(text)] = text
	return text
}

func (s *sharedTexts) template(template *corev1.PodTemplateSpec) {
	s.metadata(&template.ObjectMeta)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, containers := range [][]corev1.Container{template.Spec.InitContainers, template.Spec.Containers} {
		for i := range containers {
			s.container(&containers[i])
		}
	}
	for i := range template.Spec.Volumes {
		s.all(&template.Spec.Volumes[i].Name)
	}
}

func (s *sharedTexts) container(c *corev1.Container) {
	s.all(&c.Name, &c.Image, &c.TerminationMessagePath)
	for _, texts := range [][]string{c.Command, c.Args} {
		for i := range texts {
			s.all(&texts[i])
		}
	}
	for i := range c.Env {
		s.all(&c.Env[i].Name, &c.Env[i].Value)
	}
	for i := range c.VolumeMounts {
		s.all(&c.VolumeMounts[i].Name, &c.VolumeMounts[i].MountPath)
	}
	for i := range c.Ports {
		s.all(&c.Ports[i].Name)
	}
}
