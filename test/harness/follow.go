package harness

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Follow waits until the client pod holds a bundle. Left to itself the kubelet brings what changed after a minute; when the pod
// changes it looks at once.
func (p *ClientPod) Follow(ctx context.Context, bundle string, limit time.Duration) error {
	return p.touchUntil(ctx, "the client pod's bundle", limit, func(ctx context.Context) string { return p.lacksBundle(ctx, bundle) })
}

// FollowOperator waits until the client pod holds the operator's client certificate of now, with which stories look into PostgreSQL.
func (p *ClientPod) FollowOperator(ctx context.Context, limit time.Duration) error {
	return p.touchUntil(ctx, "the operator's certificate in the client pod", limit, p.lacksOperator)
}

// Lags is what the client pod does not hold yet, the bundle or the operator's certificate; "" when it holds both. It changes nothing.
func (p *ClientPod) Lags(ctx context.Context, bundle string) string {
	if missing := p.lacksBundle(ctx, bundle); missing != "" {
		return missing
	}
	return p.lacksOperator(ctx)
}

func (p *ClientPod) touchUntil(ctx context.Context, what string, limit time.Duration, lacks func(context.Context) string) error {
	return Await(ctx, what, limit, func(ctx context.Context) string {
		missing := lacks(ctx)
		if missing == "" {
			return ""
		}
		if err := p.touch(ctx); err != nil {
			return err.Error()
		}
		return missing
	})
}

func (p *ClientPod) lacksBundle(ctx context.Context, bundle string) string {
	held, err := p.Run(ctx, "cat", "/ca/ca.crt")
	switch {
	case err != nil:
		return err.Error()
	case held != strings.TrimSpace(bundle):
		return fmt.Sprintf("it holds another bundle, of %d certificates", strings.Count(held, "BEGIN CERTIFICATE"))
	}
	return ""
}

func (p *ClientPod) lacksOperator(ctx context.Context) string {
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: p.cluster.Namespace, Name: p.cluster.Name + "-operator-tls"}
	if err := p.cluster.Kube.Get(ctx, key, &secret); err != nil {
		return err.Error()
	}
	held, err := p.Run(ctx, "cat", "/operator/client.crt")
	switch {
	case err != nil:
		return err.Error()
	case held != strings.TrimSpace(string(secret.Data["client.crt"])):
		return "it holds another certificate of the operator"
	}
	return ""
}

func (p *ClientPod) touch(ctx context.Context) error {
	var pod corev1.Pod
	if err := p.cluster.Kube.Get(ctx, client.ObjectKey{Namespace: p.cluster.Namespace, Name: p.name}, &pod); err != nil {
		return err
	}
	before := pod.DeepCopy()
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, "example.com/touched", time.Now().UTC().Format(time.RFC3339Nano))
	return p.cluster.Kube.Patch(ctx, &pod, client.MergeFrom(before))
}
