package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	// definitionMark is on what a test has made, so that a user's own is neither used nor removed.
	definitionMark  = "pgtls.dev/made-for-test"
	definitionLimit = time.Minute
)

// definitions are the custom resource definitions of one program, for as long as a test needs them.
type definitions struct {
	kube client.Client
	made []*apiextensionsv1.CustomResourceDefinition
}

func newDefinitions(config *rest.Config) (*definitions, error) {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	kube, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", config.Host, err)
	}
	return &definitions{kube: kube}, nil
}

// install returns when the API server serves every kind of the file.
func (d *definitions) install(ctx context.Context, file string) error {
	read, err := readDefinitions(file)
	if err != nil {
		return err
	}
	for _, definition := range read {
		if err := d.create(ctx, definition); err != nil {
			return fmt.Errorf("creating the definition %s: %w", definition.Name, err)
		}
		d.made = append(d.made, definition)
	}
	for _, definition := range d.made {
		if err := d.awaitEstablished(ctx, definition); err != nil {
			return err
		}
	}
	return nil
}

// create takes one that an interrupted test has left as it is.
func (d *definitions) create(ctx context.Context, definition *apiextensionsv1.CustomResourceDefinition) error {
	metav1.SetMetaDataLabel(&definition.ObjectMeta, definitionMark, "true")
	err := d.kube.Create(ctx, definition)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := d.kube.Get(ctx, client.ObjectKeyFromObject(definition), definition); err != nil {
		return err
	}
	if definition.Labels[definitionMark] == "" {
		return errors.New("it is there already, and no test has made it: use a cluster without its program, or remove that")
	}
	return nil
}

func (d *definitions) awaitEstablished(ctx context.Context, definition *apiextensionsv1.CustomResourceDefinition) error {
	return Await(ctx, "the definition "+definition.Name, definitionLimit, func(ctx context.Context) string {
		if err := d.kube.Get(ctx, client.ObjectKeyFromObject(definition), definition); err != nil {
			return err.Error()
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return ""
			}
		}
		return "it is not established"
	})
}

// remove returns when nothing is left, so that the next test finds a clean place.
func (d *definitions) remove(ctx context.Context) error {
	var errs []error
	for _, definition := range d.made {
		errs = append(errs, client.IgnoreNotFound(d.kube.Delete(ctx, definition)))
	}
	for _, definition := range d.made {
		errs = append(errs, Await(ctx, "the end of definition "+definition.Name, definitionLimit, func(ctx context.Context) string {
			err := d.kube.Get(ctx, client.ObjectKeyFromObject(definition), definition)
			if apierrors.IsNotFound(err) {
				return ""
			}
			return fmt.Sprintf("it is still there (%v)", err)
		}))
	}
	return errors.Join(errs...)
}

func readDefinitions(file string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading definitions: %w", err)
	}
	var read []*apiextensionsv1.CustomResourceDefinition
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(document, definition); err != nil {
			return nil, fmt.Errorf("reading definitions in %s: %w", file, err)
		}
		read = append(read, definition)
	}
	return read, nil
}
