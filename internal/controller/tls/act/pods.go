package act

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// activate asks a pod to use what is published for it. The one patch also makes
// the kubelet refresh the pod's volumes at once.
func activate(ctx context.Context, v *round, step plan.Activate) error {
	changed, err := v.Applier.PatchAnnotation(ctx, v.Pods[step.Pod], material.ActivateAnnotation, step.Revision)
	if err != nil {
		return client.IgnoreNotFound(err) // a pod that is gone serves nothing
	}
	if changed {
		v.Proofs.Renounce(v.Pods[step.Pod].UID)
		sendEvent(v, eventNormal, eventActivated, "pod %s was asked to use revision %s of %s", step.Pod, step.Revision, step.Party)
	}
	return nil
}

// retrigger changes an annotation of a pod, which triggers its kubelet to deliver the revision.
func retrigger(ctx context.Context, v *round, step plan.Retrigger) error {
	pod := v.Pods[step.Pod]
	_, err := v.Applier.PatchAnnotation(ctx, pod, material.RetriggerAnnotation, v.Retriggers.Take(pod.UID, step.Revision, v.Now()))
	return client.IgnoreNotFound(err)
}

// prove handshakes with every port of a pod. What it sees is a fact for the next plan, not an error.
func prove(ctx context.Context, v *round, step plan.Prove) error {
	pod := v.Pods[step.Pod]
	revoked, err := revokedCanary(v, v.Party(step.Party))
	if err != nil {
		return err
	}
	v.Proofs.Prove(ctx, evidence.Request{
		Run: snapshot.RunOf(pod), Cluster: client.ObjectKeyFromObject(v.Cluster), ServerName: snapshot.ServerName(v.Cluster, pod),
		Endpoints: v.Endpoints[step.Pod], Identity: v.Identity(), Revision: step.Revision,
		Party: v.Party(step.Party), Now: v.Now(), Revoked: revoked,
	})
	return nil
}
