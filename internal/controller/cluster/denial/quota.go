package denial

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A Standing says whether what denied a pod still does.
type Standing string

// The standings.
const (
	Unknown Standing = "Unknown" // nothing but another attempt tells
	Lasting Standing = "Lasting" // the quota has no room
	Over    Standing = "Over"    // the quota has room, or is gone
)

// QuotaReader returns a ResourceQuota; nil when there is none of that name.
type QuotaReader func(ctx context.Context, namespace, name string) (*corev1.ResourceQuota, error)

// ReadQuotas reads the quotas of the API server: no cache holds them.
func ReadQuotas(live client.Reader) QuotaReader {
	return func(ctx context.Context, namespace, name string) (*corev1.ResourceQuota, error) {
		quota := &corev1.ResourceQuota{}
		err := live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, quota)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading ResourceQuota %s: %w", name, err)
		}
		return quota, nil
	}
}

// An Excess is what a pod asked of a ResourceQuota that had no room for it.
type Excess struct {
	Quota     string
	Requested corev1.ResourceList
}

var exceeded = regexp.MustCompile(`exceeded quota: ([^,]+), requested: (\S+), used:`)

// ExcessOf reads the message with which the API server denied a pod for a quota. It returns false for any other denial.
func ExcessOf(message string) (Excess, bool) {
	groups := exceeded.FindStringSubmatch(message)
	if groups == nil {
		return Excess{}, false
	}
	excess := Excess{Quota: groups[1], Requested: corev1.ResourceList{}}
	for pair := range strings.SplitSeq(groups[2], ",") {
		name, amount, _ := strings.Cut(pair, "=")
		quantity, err := resource.ParseQuantity(amount)
		if err != nil {
			return Excess{}, false
		}
		excess.Requested[corev1.ResourceName(name)] = quantity
	}
	return excess, true
}

// Standing of a denial for a quota as the quota is now; nil: it is gone.
func (e Excess) Standing(quota *corev1.ResourceQuota) Standing {
	if quota == nil {
		return Over
	}
	for name, requested := range e.Requested {
		if standing := roomFor(quota, name, requested); standing != Over {
			return standing
		}
	}
	return Over
}

// roomFor goes by the quota's status, which the quota's controller computes: a limit of the spec that is not in it counts as unknown.
func roomFor(quota *corev1.ResourceQuota, name corev1.ResourceName, requested resource.Quantity) Standing {
	wanted, isLimited := quota.Spec.Hard[name]
	if !isLimited {
		return Over
	}
	hard, isKnown := quota.Status.Hard[name]
	used, isCounted := quota.Status.Used[name]
	if !isKnown || !isCounted || hard.Cmp(wanted) != 0 {
		return Unknown
	}
	used = used.DeepCopy()
	used.Add(requested)
	if used.Cmp(hard) > 0 {
		return Lasting
	}
	return Over
}
