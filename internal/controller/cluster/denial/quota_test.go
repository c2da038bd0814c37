package denial

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const quotaText = `pods "hippo-00-1-0" is forbidden: exceeded quota: few, requested: limits.cpu=500m,limits.memory=1Gi, used: limits.cpu=2,limits.memory=3Gi, limited: limits.cpu=2,limits.memory=4Gi`

func list(cpu, memory string) corev1.ResourceList {
	amounts := corev1.ResourceList{}
	for name, amount := range map[corev1.ResourceName]string{"limits.cpu": cpu, "limits.memory": memory} {
		if amount != "" {
			amounts[name] = resource.MustParse(amount)
		}
	}
	return amounts
}

func TestStandingOfAnExcess(t *testing.T) {
	excess, ok := ExcessOf(quotaText)
	if !ok || excess.Quota != "few" || len(excess.Requested) != 2 {
		t.Fatalf("read %+v, %v", excess, ok)
	}
	quota := func(spec, hard, used corev1.ResourceList) *corev1.ResourceQuota {
		return &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: spec}, Status: corev1.ResourceQuotaStatus{Hard: hard, Used: used}}
	}
	both := list("2", "4Gi")
	for _, c := range []struct {
		name  string
		quota *corev1.ResourceQuota
		want  Standing
	}{
		{"gone", nil, Over},
		{"used up", quota(both, both, list("2", "3Gi")), Lasting},
		{"a little room", quota(both, both, list("1800m", "3Gi")), Lasting},
		{"just enough room", quota(both, both, list("1500m", "3Gi")), Over},
		{"room of one kind", quota(both, both, list("1", "4Gi")), Lasting},
		{"raised", quota(list("3", "4Gi"), list("3", "4Gi"), list("2", "3Gi")), Over},
		{"raised, and not yet computed", quota(list("3", "4Gi"), both, list("2", "3Gi")), Unknown},
		{"made a moment ago", quota(both, nil, nil), Unknown},
		{"of other kinds now", quota(list("", "4Gi"), list("", "4Gi"), list("", "3Gi")), Over},
	} {
		if got := excess.Standing(c.quota); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestOtherDenialsAreNoExcess(t *testing.T) {
	for _, message := range []string{
		"", `admission webhook "x" denied the request`, "failed quota: few: must specify limits.cpu for: database",
		"exceeded quota: few, requested: limits.cpu=much, used: limits.cpu=2, limited: limits.cpu=2",
	} {
		if excess, ok := ExcessOf(message); ok {
			t.Errorf("%q: %+v", message, excess)
		}
	}
}
