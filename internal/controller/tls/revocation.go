package tls

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation"
)

// Each list holds a canary besides: a serial number that nobody's certificate has, and that is another one on each list. The
// operator issues itself a certificate with it and must see it refused: that PostgreSQL has loaded a list shows in no other
// way, since a reload that fails says so in the log alone and goes on with what was loaded before.

// canaryPrefix is "canary". Certificates that are for use have random serial numbers of 40 digits.
const canaryPrefix = "63616e617279"

// canarySerial is the canary of a list, by the list's number.
func canarySerial(number int64) string { return fmt.Sprintf("%s%016x", canaryPrefix, number) }

func isCanary(serial string) bool {
	return len(serial) == len(canaryPrefix)+16 && strings.HasPrefix(serial, canaryPrefix)
}

// inspectRevocation reads the lists of material. Lists that some anchor of the bundle beside them lacks are as bad as none: no
// agent takes them.
func inspectRevocation(m *rotation.Material, secret *corev1.Secret, anchors []*x509.Certificate, now time.Time) {
	text, there := secret.Data[agentapi.RevocationLists]
	if !there {
		return
	}
	lists, err := pki.ParseRevocationLists(text)
	if err != nil || pki.CheckRevocationLists(lists, anchors, now) != nil {
		m.Altered = true
		return
	}
	m.Revoked, m.Lists = rotation.Revocations{}, pki.RevocationListNumbers(lists)
	for _, list := range lists {
		facts := pki.FactsOfRevocationList(list)
		m.Revoked[facts.IssuerKeyID] = slices.DeleteFunc(facts.Serials, isCanary)
	}
}

// publishedLists are the newest list of each authority that some instance has, by the authority's key.
func (v *view) publishedLists() map[string]*x509.RevocationList {
	newest := map[string]*x509.RevocationList{}
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		secret := v.material[party.Name]
		if party.Kind != rotation.Instance || secret == nil {
			continue
		}
		lists, err := pki.ParseRevocationLists(secret.Data[agentapi.RevocationLists])
		if err != nil {
			continue
		}
		for _, list := range lists {
			facts := pki.FactsOfRevocationList(list)
			if known := newest[facts.IssuerKeyID]; known == nil || pki.FactsOfRevocationList(known).Number < facts.Number {
				newest[facts.IssuerKeyID] = list
			}
		}
	}
	return newest
}

// addRevocation adds the lists that an instance is to have; old is what it has.
func (v *view) addRevocation(data map[string][]byte, old *corev1.Secret) error {
	wanted, keep := v.plan.Lists()
	published := v.publishedLists()
	var lists []*x509.RevocationList
	for _, stored := range v.authorities {
		key := stored.facts.Certificate.KeyID
		if stored.facts.Domain != rotation.Client || stored.certificate == nil {
			continue
		}
		serials, listed := wanted[key]
		list := published[key]
		switch {
		case keep && list == nil || !keep && !listed:
			continue
		case !keep && !upToDate(list, serials) && stored.authority != nil:
			signed, err := v.signList(stored, serials, list)
			if err != nil {
				return err
			}
			list = signed
		case list == nil:
			continue // nothing can be listed, and the plan says so
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 || keep && (old == nil || old.Data[agentapi.RevocationLists] == nil) {
		return nil
	}
	data[agentapi.RevocationLists] = pki.EncodeRevocationLists(lists)
	return nil
}

// upToDate reports whether a list holds exactly some serial numbers: then it need not be another one.
func upToDate(list *x509.RevocationList, serials []string) bool {
	return list != nil && slices.Equal(slices.DeleteFunc(pki.FactsOfRevocationList(list).Serials, isCanary), serials)
}

// signList makes an authority's next list, once for all instances of a round.
func (v *view) signList(stored *storedAuthority, serials []string, before *x509.RevocationList) (*x509.RevocationList, error) {
	key := stored.facts.Certificate.KeyID
	if list := v.signed[key]; upToDate(list, serials) {
		return list, nil
	}
	number := v.observed.Now.Unix() + 1 // see rotation.ListNumbers
	if before != nil {
		number = max(number, pki.FactsOfRevocationList(before).Number+1)
	}
	request := pki.RevocationListRequest{
		Number: number, ThisUpdate: v.observed.Now.Add(-authorityBackdate),
		Revoked: []pki.Revocation{{Serial: canarySerial(number), At: v.observed.Now}},
	}
	for _, serial := range serials {
		request.Revoked = append(request.Revoked, pki.Revocation{Serial: serial, At: v.revokedAt(serial)})
	}
	list, err := stored.authority.RevocationList(request)
	if err != nil {
		return nil, fmt.Errorf("signing the revocation list of client g%d: %w", stored.facts.Generation, err)
	}
	if v.signed == nil {
		v.signed = map[string]*x509.RevocationList{}
	}
	v.signed[key] = list
	return list, nil
}

func (v *view) revokedAt(serial string) time.Time {
	for _, one := range v.observed.Ledger.Issued {
		if one.Serial == serial && !one.RevokedAt.IsZero() {
			return one.RevokedAt
		}
	}
	return v.observed.Now
}

// revokedCanary issues the canary of a party's published lists; nil when there is none.
func (v *view) revokedCanary(party *rotation.Party) (*pki.KeyPair, error) {
	secret := v.material[party.Name]
	if party.Kind != rotation.Instance || party.Material.Revoked == nil || secret == nil {
		return nil, nil
	}
	lists, err := pki.ParseRevocationLists(secret.Data[agentapi.RevocationLists])
	if err != nil {
		return nil, fmt.Errorf("reading the revocation lists of %s: %w", party.Name, err)
	}
	for _, stored := range v.authorities {
		i := slices.IndexFunc(lists, func(list *x509.RevocationList) bool {
			return pki.FactsOfRevocationList(list).IssuerKeyID == stored.facts.Certificate.KeyID
		})
		if i < 0 || stored.authority == nil || stored.facts.Domain != rotation.Client {
			continue
		}
		serial, _ := new(big.Int).SetString(canarySerial(pki.FactsOfRevocationList(lists[i]).Number), 16)
		pair, err := stored.authority.Issue(pki.LeafRequest{
			CommonName: agentapi.OperatorIdentity, Usage: pki.ClientAuth, Algorithm: pki.DefaultAlgorithm, Serial: serial,
			NotBefore: v.observed.Now.Add(-canaryLife), NotAfter: v.observed.Now.Add(canaryLife),
		})
		if err != nil {
			return nil, fmt.Errorf("issuing a revoked canary: %w", err)
		}
		return pair, nil
	}
	return nil, nil
}

// sessionEnder ends the sessions of a PostgreSQL that came in with certificates of these serial numbers.
type sessionEnder func(context.Context, postgres.Server, []string) (int, error)

func endSessions(ctx context.Context, server postgres.Server, serials []string) (int, error) {
	conn, err := postgres.Connect(ctx, server)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return postgres.EndSessions(ctx, conn, serials)
}

// sweep ends the sessions of a pod whose certificates are revoked.
func (r *Reconciler) sweep(ctx context.Context, v *view, step rotation.Step) error {
	identity, pod, party := r.identity(v), v.pods[step.Pod], v.party(step.Party)
	if identity == nil {
		return errNoSigner
	}
	var serials []string
	for _, revoked := range party.Material.Revoked {
		serials = append(serials, revoked...)
	}
	ctx, cancel := context.WithTimeout(ctx, sessionsTimeout)
	defer cancel()
	ended, err := r.endSessions(ctx, identity.Server(pod.Status.PodIP, serverName(v.cluster, pod), r.now), serials)
	if err != nil {
		return err
	}
	r.sweeps.take(pod.UID, types.NamespacedName{Namespace: v.cluster.Namespace, Name: v.cluster.Name}, party.Material.Revoked.String(), v.observed.Now)
	if ended > 0 {
		r.event(v, eventNormal, eventSessionsEnded, "%d sessions of pod %s were ended: their certificates are revoked", ended, step.Pod)
	}
	return nil
}

// sweeps remembers where sessions were ended. After a restart of the operator it is done once more, which harms nobody.
type sweeps struct {
	mu   sync.Mutex
	pods map[types.UID]swept
}

type swept struct {
	rotation.Swept
	cluster types.NamespacedName
}

func newSweeps() *sweeps { return &sweeps{pods: map[types.UID]swept{}} }

func (s *sweeps) of(pod types.UID) rotation.Swept {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[pod].Swept
}

func (s *sweeps) take(pod types.UID, cluster types.NamespacedName, lists string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.pods[pod]
	if last.Lists != lists {
		last = swept{cluster: cluster, Swept: rotation.Swept{Lists: lists, First: now}}
	}
	last.Last = now
	s.pods[pod] = last
}

// keepOnly forgets a cluster's pods that are gone.
func (s *sweeps) keepOnly(cluster types.NamespacedName, keys map[evidence.Run]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[types.UID]bool{}
	for key := range keys {
		kept[key.UID] = true
	}
	for pod, last := range s.pods {
		if last.cluster == cluster && !kept[pod] {
			delete(s.pods, pod)
		}
	}
}
