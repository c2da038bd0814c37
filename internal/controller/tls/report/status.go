package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// clientCertificateStatus tells what every application has.
func clientCertificateStatus(v *snapshot.Snapshot) []v1beta1.ClientCertificateStatus {
	byUser := map[string]*v1beta1.ClientCertificateStatus{}
	var out []v1beta1.ClientCertificateStatus
	current := map[string]bool{}
	for i := range v.Observed.Parties {
		party := &v.Observed.Parties[i]
		if !party.Kind.InLedger {
			continue
		}
		status := v1beta1.ClientCertificateStatus{User: party.User}
		for _, leaf := range party.Material.Leaves {
			if leaf.Serial != "" {
				status.Serial, status.NotAfter = leaf.Serial, &metav1.Time{Time: leaf.NotAfter}
				current[leaf.Serial] = true
			}
		}
		out = append(out, status)
	}
	for i := range out {
		byUser[out[i].User] = &out[i]
	}
	var gone []v1beta1.ClientCertificateStatus
	for _, entry := range v.Observed.Ledger.Issued {
		if !v.Observed.Now.Before(entry.NotAfter) || current[entry.Serial] && entry.RevokedAt.IsZero() || entry.User == "" {
			continue
		}
		status := byUser[entry.User]
		if status == nil {
			i := slices.IndexFunc(gone, func(s v1beta1.ClientCertificateStatus) bool { return s.User == entry.User })
			if i < 0 {
				gone, i = append(gone, v1beta1.ClientCertificateStatus{User: entry.User}), len(gone)
			}
			status = &gone[i]
		}
		if entry.RevokedAt.IsZero() {
			status.Replaced++
		} else {
			status.Revoked++
		}
	}
	return append(out, gone...)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(material.TimeLayout)
}

func authorityStatus(v *snapshot.Snapshot, decided plan.Plan) []v1beta1.AuthorityStatus {
	var out []v1beta1.AuthorityStatus
	for _, stored := range v.Authorities {
		if stored.Certificate == nil {
			continue
		}
		status := v1beta1.AuthorityStatus{
			Name:     material.GenerationName(stored.Facts.Domain, stored.Facts.Generation),
			Serial:   stored.Facts.Certificate.Serial,
			NotAfter: metav1.NewTime(stored.Facts.Certificate.NotAfter),
			Active:   decided.Active.Of(stored.Facts.Domain) == stored.Facts.Generation,
		}
		if at := stored.Facts.SwitchedAt; !at.IsZero() {
			status.SwitchedAt = &metav1.Time{Time: at}
		}
		if generation, why := rolledBackFor(v, stored, status.Active); generation > 0 {
			status.RolledBack, status.RollbackReason = material.GenerationName(stored.Facts.Domain, generation), string(why)
		}
		out = append(out, status)
	}
	return out
}

// rolledBackFor is the generation that was rolled back in favour of another one, and why; 0: none.
func rolledBackFor(v *snapshot.Snapshot, stored *snapshot.StoredAuthority, active bool) (int, reason.Code) {
	for _, other := range v.Authorities {
		if active && other.Facts.Domain == stored.Facts.Domain && other.Facts.RollbackReason != "" {
			return other.Facts.Generation, other.Facts.RollbackReason
		}
	}
	return stored.Facts.RolledBack, stored.Facts.RolledBackBy
}

func rekeyStatus(decided plan.Plan) []v1beta1.RekeyStatus {
	var out []v1beta1.RekeyStatus
	for _, rekey := range decided.Rekeys {
		out = append(out, v1beta1.RekeyStatus{
			Domain: string(rekey.Domain), Phase: string(rekey.Phase),
			From: material.GenerationName(rekey.Domain, rekey.From), To: material.GenerationName(rekey.Domain, rekey.To), AffectedClients: rekey.AffectedClients,
		})
	}
	return out
}

func endpointStatus(v *snapshot.Snapshot) []v1beta1.EndpointStatus {
	var out []v1beta1.EndpointStatus
	for i := range v.Observed.Parties {
		party := &v.Observed.Parties[i]
		for _, pod := range party.Pods {
			for _, e := range v.Endpoints[pod.Name] {
				out = append(out, endpoint(v, party, pod, e))
			}
		}
	}
	slices.SortFunc(out, func(a, b v1beta1.EndpointStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func endpoint(v *snapshot.Snapshot, party *facts.Party, pod facts.Pod, e evidence.Endpoint) v1beta1.EndpointStatus {
	status := v1beta1.EndpointStatus{Name: snapshot.EndpointName(pod.Name, e.Name)}
	if pod.Report != nil {
		status.Revision = pod.Report.Active
	}
	last, ok := v.Handshakes[status.Name]
	switch {
	case !ok || last.Revision != party.Material.Revision:
		status.Reason = string(reason.Unproven)
	case last.Problem != "":
		status.Reason = string(reason.NotProven)
	case last.Facts.Fingerprint != e.Published(party):
		status.Reason = string(reason.StillServingOld)
	}
	if ok && last.Problem == "" {
		status.Serial, status.Issuer = last.Facts.Serial, last.Facts.Issuer
		status.NotAfter = &metav1.Time{Time: last.Facts.NotAfter}
		status.ProvenSince = &metav1.Time{Time: last.Since.Truncate(time.Second)}
		if before := toldEndpoint(v, status.Name); before != nil && before.Serial == status.Serial && before.ProvenSince != nil {
			status.ProvenSince = before.ProvenSince // of another life of the operator
		}
	}
	return status
}

// toldEndpoint is what the status says of an endpoint, nil when it says nothing.
func toldEndpoint(v *snapshot.Snapshot, name string) *v1beta1.EndpointStatus {
	if v.Cluster.Status.TLS == nil {
		return nil
	}
	told := v.Cluster.Status.TLS.Endpoints
	i := slices.IndexFunc(told, func(e v1beta1.EndpointStatus) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &told[i]
}

// provenEvents tell of each pod that serves a leaf on every port, where the status did not say so before.
func provenEvents(v *snapshot.Snapshot, endpoints []v1beta1.EndpointStatus) (events []Event) {
	for _, pod := range slices.Sorted(maps.Keys(v.Endpoints)) {
		serial, proven, known := "", true, true
		for _, e := range v.Endpoints[pod] {
			name := snapshot.EndpointName(pod, e.Name)
			i := slices.IndexFunc(endpoints, func(status v1beta1.EndpointStatus) bool { return status.Name == name })
			if i < 0 || endpoints[i].Reason != "" {
				proven = false
				break
			}
			if serial == "" || e.Process() {
				serial = endpoints[i].Serial
			}
			before := toldEndpoint(v, name)
			known = known && before != nil && before.Serial == endpoints[i].Serial && before.Reason == ""
		}
		if proven && !known {
			events = append(events, Event{corev1.EventTypeNormal, eventProven, rotate, fmt.Sprintf("pod %s was seen to serve leaf %s on every port", pod, serial)})
		}
	}
	return events
}
