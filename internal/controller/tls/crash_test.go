package tls

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

var errCrash = errors.New("the operator crashed")

// crashAfter lets n writes through. The last of them is done and not answered,
// and nothing later is done: what a crash looks like from the API server.
func (h *fixture) crashAfter(n int, seen func()) (crashed *bool) {
	count, crashed := 0, new(bool)
	h.around = func(_ string, do func() error) error {
		if count >= n {
			*crashed = true
			return errCrash
		}
		count++
		if err := do(); err != nil {
			return err
		}
		if seen != nil {
			seen()
		}
		if count == n {
			*crashed = true
			return errCrash
		}
		return nil
	}
	return crashed
}

// ends reconciles to the end after a crash, in a new process.
func (h *fixture) ends() {
	h.t.Helper()
	h.around = nil
	h.restart()
	h.reconcile()
	if _, writes := h.reconcile(); len(writes) > 0 {
		h.t.Errorf("after a crash and a reconciliation there are still writes: %v", writes)
	}
}

// stored are the Secrets of the cluster by name.
func (h *fixture) stored() map[string]*corev1.Secret {
	h.t.Helper()
	var list corev1.SecretList
	if err := h.client.List(h.t.Context(), &list); err != nil {
		h.t.Fatal(err)
	}
	out := map[string]*corev1.Secret{}
	for i := range list.Items {
		out[list.Items[i].Name] = &list.Items[i]
	}
	return out
}

var allSecrets = []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-client-ca-g1", "hippo-client-ca-g1-copy", "hippo-operator-tls", "hippo-pgbouncer-tls", "hippo-server-ca-g1", "hippo-server-ca-g1-copy"}

// crashes runs a scene with a crash after its first write, its second, and so on until it needs no more.
func crashes(t *testing.T, scene func(t *testing.T, n int) (crashed bool)) {
	t.Helper()
	for n := 1; ; n++ {
		crashed := false
		if !t.Run(fmt.Sprintf("after %d", n), func(t *testing.T) { crashed = scene(t, n) }) || !crashed {
			if n < 3 {
				t.Errorf("the scene has %d writes: it shows nothing", n-1)
			}
			return
		}
	}
}

func TestWalkACrashWhileAClusterIsMadeIsMadeGood(t *testing.T) {
	crashes(t, func(t *testing.T, n int) bool {
		h := newFixture(t)
		crashed := h.crashAfter(n, nil)
		_, err := h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo})
		if *crashed && !errors.Is(err, errCrash) {
			t.Errorf("err = %v, want the crash", err)
		}
		before := h.stored()
		h.ends()
		after := h.stored()
		if got := tlstest.SortedKeys(after); !slices.Equal(got, allSecrets) {
			t.Errorf("Secrets = %v, want %v", got, allSecrets)
		}
		for name, secret := range before {
			if !cmp.Equal(secret.Data, after[name].Data) {
				t.Errorf("%s was good, and was made anew", name)
			}
		}
		if c := h.cluster().Status.Conditions[0]; c.Reason != "NoEndpoint" {
			t.Errorf("condition = %+v", c)
		}
		return *crashed
	})
}

func TestWalkACrashDuringARenewalIsMadeGood(t *testing.T) {
	crashes(t, func(t *testing.T, n int) bool {
		h := newFixture(t)
		h.reconcile()
		old := h.stored()
		h.pass(21 * 24 * time.Hour) // every client leaf is due, no server leaf is
		crashed := h.crashAfter(n, nil)
		_, _ = h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo}) // its error is the crash
		before := h.stored()
		h.ends()
		for name, secret := range h.stored() {
			switch {
			case strings.Contains(name, "-ca-g1"):
				if !cmp.Equal(secret.Data, old[name].Data) {
					t.Errorf("%s is another", name)
				}
				continue
			case cmp.Equal(secret.Data[agentapi.ClientCertificate], old[name].Data[agentapi.ClientCertificate]):
				t.Errorf("%s: the client leaf was due and is the old one", name)
			case !cmp.Equal(secret.Data[agentapi.ServerCertificate], old[name].Data[agentapi.ServerCertificate]):
				t.Errorf("%s: the server leaf was good and was issued anew", name)
			}
			if renewed := before[name]; !cmp.Equal(renewed.Data, old[name].Data) && !cmp.Equal(renewed.Data, secret.Data) {
				t.Errorf("%s was renewed twice", name)
			}
		}
		return *crashed
	})
}

// keyStored fails unless a Secret of the cluster holds this key now.
func (h *fixture) keyStored(name string, key []byte) {
	h.t.Helper()
	stored := h.stored()
	for _, name := range []string{name, name + material.CopySuffix} {
		if secret := stored[name]; secret != nil && cmp.Equal(secret.Data[material.AuthorityKey], key) {
			return
		}
	}
	h.t.Error("at this instant no Secret stores the key")
}

func TestACrashWhileADeletedAuthorityIsRestoredLosesNothing(t *testing.T) {
	const server, client = "hippo-server-ca-g1", "hippo-client-ca-g1"
	crashes(t, func(t *testing.T, n int) bool {
		h := newFixture(t)
		h.reconcile()
		originals := h.stored()
		h.delete(h.secret(server))
		h.delete(h.secret(client + material.CopySuffix))
		crashed := h.crashAfter(n, func() { h.keyStored(server, originals[server].Data[material.AuthorityKey]) })
		_, _ = h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo}) // its error is the crash
		h.ends()
		if got := tlstest.SortedKeys(h.stored()); !slices.Equal(got, allSecrets) {
			t.Errorf("Secrets = %v, want %v", got, allSecrets)
		}
		for _, name := range []string{server, server + material.CopySuffix, client, client + material.CopySuffix} {
			if after := h.secret(name); !cmp.Equal(after.Data, originals[name].Data) || len(after.Finalizers) > 0 || after.Immutable == nil || !*after.Immutable {
				t.Errorf("%s is not as it was: %+v", name, after.ObjectMeta)
			}
		}
		return *crashed
	})
}

// Both at once: the operator remembers it, and stores it again.
func TestBothSecretsOfAnAuthorityDeletedAtOnceLoseNothing(t *testing.T) {
	const name = "hippo-client-ca-g1"
	crashes(t, func(t *testing.T, n int) bool {
		h := newFixture(t)
		h.reconcile()
		original := h.secret(name)
		h.delete(original)
		h.delete(h.secret(name + material.CopySuffix))
		crashed := h.crashAfter(n, func() { h.keyStored(name, original.Data[material.AuthorityKey]) })
		_, _ = h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo}) // its error is the crash
		h.ends()
		if got := tlstest.SortedKeys(h.stored()); !slices.Equal(got, allSecrets) {
			t.Errorf("Secrets = %v, want %v", got, allSecrets)
		}
		if !cmp.Equal(h.secret(name).Data, original.Data) {
			t.Error("the key is another")
		}
		return *crashed
	})
}

// replace puts another content under the name of an immutable Secret.
func (h *fixture) replace(name string, data map[string][]byte) {
	h.t.Helper()
	secret := h.secret(name)
	h.delete(secret)
	secret.ResourceVersion, secret.UID, secret.Data = "", "", data
	if err := h.client.Create(h.t.Context(), secret); err != nil {
		h.t.Fatal(err)
	}
}

// Of two Secrets that hold different authorities the one counts that the bundles hold, and the other one is named.
func TestTwinsThatDifferAreNamedAndTheBundlesDecide(t *testing.T) {
	const name = "hippo-server-ca-g1"
	for _, replaced := range []string{name, name + material.CopySuffix} {
		t.Run(replaced, func(t *testing.T) {
			h, other := newFixture(t), newFixture(t)
			h.reconcile()
			other.reconcile()
			before := h.secret(instanceMaterial)
			h.replace(replaced, other.secret(name).Data)
			h.restart()
			if _, writes := h.reconcile(); !slices.Equal(writes, []string{"apply status"}) {
				t.Errorf("writes = %v", writes)
			}
			if !cmp.Equal(h.secret(instanceMaterial).Data, before.Data) {
				t.Error("material was written")
			}
			if c := h.cluster().Status.Conditions[0]; c.Reason != "TwinDiffers" || !strings.Contains(c.Message, name) {
				t.Errorf("condition = %+v, want it to name the Secrets", c)
			}
		})
	}
}

func TestADamagedCopyIsNoLossWhileTheOperatorRemembers(t *testing.T) {
	const name = "hippo-server-ca-g1"
	h := newFixture(t)
	h.reconcile()
	original := h.secret(name)
	h.replace(name+material.CopySuffix, map[string][]byte{"ca.key": []byte("nonsense")})
	h.delete(original)
	h.reconcile()
	if !cmp.Equal(h.secret(name).Data, original.Data) {
		t.Error("the authority did not come back")
	}
}

// What an earlier version of the operator held by a finalizer is held no longer.
func TestOldFinalizersGo(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	h.damage("hippo-server-ca-g1", func(s *corev1.Secret) { s.Finalizers = []string{material.AuthorityFinalizer, "theirs.example.org/x"} })
	_, writes := h.reconcile()
	if !slices.Equal(writes, []string{"patch hippo-server-ca-g1"}) || !slices.Equal(h.secret("hippo-server-ca-g1").Finalizers, []string{"theirs.example.org/x"}) {
		t.Errorf("writes %v, finalizers %v", writes, h.secret("hippo-server-ca-g1").Finalizers)
	}
}

// The twin says what was decided as well: it takes the place of the original.
func TestTheTwinFollowsWhatIsDecided(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	h.annotate(material.RotateRequestAnnotation, "server:1")
	h.change(soaking("1h"))
	h.reconcile()
	original, twin := h.secret("hippo-server-ca-g2"), h.secret("hippo-server-ca-g2-copy")
	if original.Annotations[material.SwitchedAnnotation] == "" || !cmp.Equal(material.MarksOf(original.Annotations), material.MarksOf(twin.Annotations)) {
		t.Errorf("original %v, twin %v", original.Annotations, twin.Annotations)
	}
	h.delete(original)
	h.restart()
	h.reconcile()
	if got := h.secret("hippo-server-ca-g2"); !cmp.Equal(material.MarksOf(got.Annotations), material.MarksOf(original.Annotations)) {
		t.Errorf("it came back with %v", got.Annotations)
	}
}

func TestAWriteConflictIsNoFailure(t *testing.T) {
	refusal := apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "x", errors.New("the object has been modified"))
	for _, at := range []string{"create hippo-server-ca-g1", "create hippo-a-0-tls", "create hippo-ca", "apply status"} {
		t.Run(at, func(t *testing.T) {
			h := newFixture(t)
			h.around = func(write string, do func() error) error {
				if write == at {
					return refusal
				}
				return do()
			}
			var pauses []time.Duration
			for range 3 {
				result, _ := h.reconcile() // which fails on an error
				pauses = append(pauses, result.RequeueAfter)
			}
			if want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}; !slices.Equal(pauses, want) {
				t.Errorf("pauses = %v, want %v", pauses, want)
			}
			if conditions := h.cluster().Status.Conditions; len(conditions) > 0 {
				t.Errorf("it was told as a failure: %+v", conditions)
			}
			h.ends()
			if got := tlstest.SortedKeys(h.stored()); !slices.Equal(got, allSecrets) {
				t.Errorf("Secrets = %v", got)
			}
		})
	}
}

// Any other refusal stands in the status, however long it lasts, and the other parties get what they need.
func TestARefusalForGoodIsReportedAndHoldsUpNothingElse(t *testing.T) {
	resource := schema.GroupResource{Resource: "secrets"}
	for cause, refusal := range map[string]error{
		"AlreadyExists":   apierrors.NewAlreadyExists(resource, "x"),
		"NotFound":        apierrors.NewNotFound(resource, "x"),
		"QuotaExceeded":   apierrors.NewForbidden(resource, "x", errors.New("exceeded quota: few, requested: secrets=1, used: secrets=7, limited: secrets=7")),
		"AdmissionDenied": apierrors.NewForbidden(resource, "x", errors.New("not today")),
		"Unexplained":     errors.New("read tcp 10.0.0.1:50123: i/o timeout"),
	} {
		t.Run(cause, func(t *testing.T) {
			h := newFixture(t)
			h.around = func(write string, do func() error) error {
				if write == "create hippo-a-0-tls" {
					return refusal
				}
				return do()
			}
			result, _ := h.reconcile()
			if result.RequeueAfter != retryMin {
				t.Errorf("tried again in %s", result.RequeueAfter)
			}
			c := h.cluster().Status.Conditions[0]
			if want := "AlreadyExists"; cause == want { // the Get shows that there is none
				cause = "NotFound"
			}
			if c.Reason != "StepFailed" || !strings.Contains(c.Message, "Publish hippo-a-0-tls") || !strings.Contains(c.Message, cause) || strings.Contains(c.Message, "50123") {
				t.Errorf("condition = %+v", c)
			}
			for _, name := range allSecrets {
				if name != "hippo-a-0-tls" {
					h.secret(name)
				}
			}
			h.events()
			h.pass(time.Second)
			if result, writes := h.reconcile(); !slices.Equal(writes, []string{"create hippo-a-0-tls"}) || result.RequeueAfter != 2*time.Second || len(h.events()) > 0 {
				t.Errorf("tried again: %v, and again in %s", writes, result.RequeueAfter)
			}
			if _, writes := h.reconcile(); len(writes) > 0 {
				t.Errorf("before the pause is over: %v", writes)
			}
			h.around = nil
			h.pass(2 * time.Second)
			h.reconcile()
			if _, writes := h.reconcile(); len(writes) > 0 || h.cluster().Status.Conditions[0].Reason == "StepFailed" {
				t.Errorf("the cause is gone: %v %+v", writes, h.cluster().Status.Conditions[0])
			}
		})
	}
}

// A Secret of another owner where the next generation is to be made: its name and the remedy are in the status.
func TestAForeignSecretUnderTheNextGenerationsNameIsNamed(t *testing.T) {
	h := newFixture(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: "hippo-server-ca-g2"}})
	h.reconcile()
	h.annotate(material.RotateRequestAnnotation, "server:1")
	h.reconcile()
	c := h.cluster().Status.Conditions[0]
	if c.Reason != "StepFailed" || !strings.Contains(c.Message, "hippo-server-ca-g2") || !strings.Contains(c.Message, "add the label") {
		t.Errorf("condition = %+v", c)
	}
}

func TestAnImpossiblePolicyIsABlockerAndNoError(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	h.events()
	spec := func(renewBefore string) {
		cluster := h.cluster()
		d := v1beta1.CertificateDuration("10h")
		before := v1beta1.CertificateDuration(renewBefore)
		cluster.Spec.TLS = &v1beta1.TLSSpec{Client: &v1beta1.ClientTLSSpec{Operator: &v1beta1.CertificateSpec{Duration: &d, RenewBefore: &before}}}
		if err := h.client.Update(t.Context(), cluster); err != nil {
			t.Fatal(err)
		}
	}
	spec("10h")
	result, writes := h.reconcile()
	if !slices.Equal(writes, []string{"apply status"}) || result.RequeueAfter < retryMin {
		t.Errorf("writes %v, again in %s", writes, result.RequeueAfter)
	}
	status := h.cluster().Status
	if c := status.Conditions[0]; c.Reason != "PolicyInvalid" || !strings.Contains(c.Message, "renewBefore") {
		t.Errorf("condition = %+v", c)
	}
	if status.TLS.State != string(plan.Waiting) || len(status.TLS.Blockers) != 1 || status.TLS.Blockers[0].Party != tlstest.Hippo.Name {
		t.Errorf("status = %+v", status.TLS)
	}
	if events := h.events(); len(events) != 1 || !strings.Contains(events[0], "PolicyInvalid") {
		t.Errorf("events = %v", events)
	}
	if _, writes := h.reconcile(); len(writes)+len(h.events()) > 0 {
		t.Errorf("looked again, and wrote %v", writes)
	}
	spec("5h")
	h.reconcile()
	if c := h.cluster().Status.Conditions[0]; c.Reason != "NoEndpoint" {
		t.Errorf("mended, and the condition is %+v", c)
	}
}

func TestAnAuthorityWithoutItsLabelsIsNotLost(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	before := h.stored()
	for _, name := range []string{"hippo-server-ca-g1", "hippo-client-ca-g1"} {
		h.damage(name, func(s *corev1.Secret) { s.Labels = nil })
	}
	stripped, status := h.secret("hippo-server-ca-g1").ResourceVersion, h.cluster().ResourceVersion
	h.reconcile() // the cache does not know them, and the API server refuses to make them anew
	if h.secret("hippo-server-ca-g1").ResourceVersion != stripped || h.cluster().ResourceVersion != status {
		t.Error("what was found to be there was written")
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("writes = %v", writes)
	}
	h.pass(21 * 24 * time.Hour)
	h.reconcile()
	if m := h.r.inspectByName(t, h, instanceMaterial); m.Leaves[1].Serial == "" || m.Leaves[1].NotAfter.Before(h.now.Add(29*24*time.Hour)) {
		t.Errorf("the client leaf was not renewed: %+v", m.Leaves[1])
	}
	if !cmp.Equal(before["hippo-client-ca-g1"].Data, h.secret("hippo-client-ca-g1").Data) {
		t.Error("the authority is another")
	}
}

func TestASecretInTheAuthoritysPlaceIsNamedAndNotFoughtOver(t *testing.T) {
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: "hippo-server-ca-g1"}}
	h := newFixture(t, foreign)
	h.reconcile()
	result, writes := h.reconcile()
	if len(writes) > 0 || result.RequeueAfter < retryMin {
		t.Errorf("writes %v, again in %s", writes, result.RequeueAfter)
	}
	if c := h.cluster().Status.Conditions[0]; c.Reason != string(reason.AuthorityForeign) || !strings.Contains(c.Message, foreign.Name) {
		t.Errorf("condition = %+v", c)
	}
}

func TestMaterialThatCannotBeWrittenIsMadeAnew(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	immutable := true
	h.damage(instanceMaterial, func(s *corev1.Secret) {
		s.Immutable = &immutable
		s.Data[agentapi.ServerCertificate] = []byte("nonsense")
	})
	_, writes := h.reconcile()
	if want := []string{"delete " + instanceMaterial, "create " + instanceMaterial}; len(writes) < 2 || !slices.Equal(writes[:2], want) {
		t.Errorf("writes = %v, want first %v", writes, want)
	}
	if m := h.r.inspectByName(t, h, instanceMaterial); m.Leaves[0].Problem != "" {
		t.Errorf("material = %+v", m)
	}
}

func TestMaterialThatCanNeitherBeWrittenNorGoIsTold(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	immutable := true
	h.damage(instanceMaterial, func(s *corev1.Secret) {
		s.Immutable, s.Finalizers, s.Data = &immutable, []string{"another.program/holds"}, nil
	})
	h.reconcile()
	if c := h.cluster().Status.Conditions[0]; c.Reason != "StepFailed" || !strings.Contains(c.Message, "another.program/holds") || !strings.Contains(c.Message, "HeldImmutable") {
		t.Errorf("condition = %+v, want it to name the finalizer", c)
	}
}

func TestWhatOthersNoteOnMaterialIsTheirs(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	h.damage(instanceMaterial, func(s *corev1.Secret) {
		metav1.SetMetaDataLabel(&s.ObjectMeta, "team", "zoo")
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, "backup", "yes")
		s.Finalizers = []string{"another.program/holds"}
		delete(s.Data, agentapi.ServerKey)
	})
	h.reconcile()
	after := h.secret(instanceMaterial)
	if after.Labels["team"] != "zoo" || after.Annotations["backup"] != "yes" || len(after.Finalizers) != 1 {
		t.Errorf("metadata = %+v", after.ObjectMeta)
	}
	if after.Annotations[material.RevisionAnnotation] != h.r.inspectByName(t, h, instanceMaterial).Revision {
		t.Error("the annotation names another revision than the content")
	}
}

// earlier makes everything that is stored an earlier cluster's of the same name.
func (h *fixture) earlier() {
	h.t.Helper()
	for name := range h.stored() {
		h.damage(name, func(s *corev1.Secret) { s.OwnerReferences[0].UID = "an-earlier-hippo" })
	}
	h.delete(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: "hippo-ca"}})
}

// A cluster that is made again under its name waits for the garbage collector, and takes nothing of the earlier one's.
func TestAClusterMadeAgainUnderItsNameGetsItsOwnAuthority(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	old := h.secret("hippo-server-ca-g1")
	h.earlier()
	h.restart()
	if _, writes := h.reconcile(); slices.ContainsFunc(writes, func(w string) bool { return strings.Contains(w, "hippo-server-ca") }) {
		t.Errorf("writes = %v", writes)
	}
	if c := h.cluster().Status.Conditions[0]; c.Reason != string(reason.AuthorityForeign) || !strings.Contains(c.Message, "earlier cluster") {
		t.Errorf("condition = %+v", c)
	}
	for name := range h.stored() {
		h.delete(h.secret(name))
	}
	h.reconcile()
	if cmp.Equal(old.Data, h.secret("hippo-server-ca-g1").Data) {
		t.Error("it uses the earlier cluster's key")
	}
	if got := tlstest.SortedKeys(h.stored()); !slices.Equal(got, allSecrets) {
		t.Errorf("Secrets = %v", got)
	}
}

// What an earlier cluster left and another program's finalizer holds is named with the finalizer, and not fought over.
func TestWhatAForeignFinalizerHoldsIsNamed(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	h.earlier()
	h.damage("hippo-server-ca-g1", func(s *corev1.Secret) { s.Finalizers = []string{"theirs.example.org/x"} })
	h.restart()
	for name := range h.stored() {
		h.delete(h.secret(name))
	}
	h.reconcile()
	if c := h.cluster().Status.Conditions[0]; c.Reason != string(reason.AuthorityForeign) || !strings.Contains(c.Message, "theirs.example.org/x") {
		t.Errorf("condition = %+v", c)
	}
	if result, writes := h.reconcile(); len(writes) > 0 || result.RequeueAfter < retryMin {
		t.Errorf("writes %v, again in %s", writes, result.RequeueAfter)
	}
	h.damage("hippo-server-ca-g1", func(s *corev1.Secret) { s.Finalizers = nil })
	h.reconcile()
	if got := tlstest.SortedKeys(h.stored()); !slices.Equal(got, allSecrets) {
		t.Errorf("Secrets = %v", got)
	}
}

// Nothing of a cluster that is going away, or is gone, is held or written.
func TestNothingIsHeldOfAClusterThatGoes(t *testing.T) {
	for _, finalizers := range [][]string{nil, {"foregroundDeletion"}} {
		h := newFixture(t)
		h.reconcile()
		cluster := h.cluster()
		cluster.Finalizers = finalizers
		if err := h.client.Update(t.Context(), cluster); err != nil {
			t.Fatal(err)
		}
		h.delete(cluster)
		h.delete(h.secret("hippo-server-ca-g1"))
		if _, writes := h.reconcile(); len(writes) > 0 {
			t.Errorf("writes = %v", writes)
		}
		if h.stored()["hippo-server-ca-g1"] != nil {
			t.Error("it was held")
		}
	}
}
