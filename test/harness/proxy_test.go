package harness

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

func TestACallIsToldByWhatItIsAbout(t *testing.T) {
	for request, want := range map[string]string{
		"GET /api/v1/namespaces/ours/secrets?labelSelector=x":                                        "GET secrets",
		"GET /api/v1/namespaces/ours/secrets/a":                                                      "GET secrets a",
		"POST /api/v1/namespaces/ours/secrets?fieldManager=pgtls-tls":                                "POST secrets pgtls-tls",
		"PATCH /apis/pgtls.dev/v1beta1/namespaces/ours/postgresclusters/hippo/status?fieldManager=m": "PATCH postgresclusters/status hippo m retired,switched-at",
		"DELETE /api/v1/namespaces/ours/secrets/a":                                                   "DELETE secrets a",
		"GET /api/v1/namespaces/ours":                                                                "",
		"GET /api/v1/namespaces/ours-too/secrets":                                                    "",
		"GET /api/v1/secrets":                                                                        "",
	} {
		method, target, _ := strings.Cut(request, " ")
		body := `{"metadata":{"annotations":{"pgtls.dev/switched-at":"x","pgtls.dev/retired":"1","example.com/other":"y"}}}`
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		call, ours := callOf(r, "ours")
		if ours != (want != "") || ours && call.String() != want {
			t.Errorf("%s: %v %q, want %q", request, ours, call, want)
		}
		if left, err := io.ReadAll(r.Body); err != nil || string(left) != body {
			t.Errorf("%s: the body became %q, %v", request, left, err)
		}
	}
}

func TestEventsAndLeasesAreNoWritesThatCount(t *testing.T) {
	for resource, want := range map[string]bool{"events": false, "leases": false, "secrets": true, "postgresclusters/status": true} {
		if got := (Call{Method: http.MethodPatch, Resource: resource}).Writes(); got != want {
			t.Errorf("%s: %v", resource, got)
		}
	}
	if (Call{Method: http.MethodGet, Resource: "secrets"}).Writes() {
		t.Error("a read counts as a write")
	}
}

// behind starts a proxy in front of a server that counts what reaches it.
func behind(t *testing.T, status int) (p *Proxy, reached *atomic.Int32) {
	t.Helper()
	reached = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(server.Close)
	upstream, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = StartProxy(upstream, http.DefaultTransport, "ours"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, reached
}

func send(t *testing.T, p *Proxy, method, path string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err == nil {
		t.Cleanup(func() { _ = response.Body.Close() })
	}
	return response, err
}

const ourSecret = "/api/v1/namespaces/ours/secrets/a"

func TestEachFaultIsWhatItsNameSays(t *testing.T) {
	for fault, want := range map[Fault]struct {
		reached int32
		code    int // 0: the connection broke
		reason  metav1.StatusReason
	}{
		NoFault:    {1, 200, ""},
		Conflicted: {0, 409, metav1.StatusReasonConflict},
		Refused:    {0, 500, metav1.StatusReasonInternalError},
		Misread:    {1, 500, metav1.StatusReasonInternalError},
		Lost:       {0, 0, ""},
		Unanswered: {1, 0, ""},
	} {
		t.Run("fault "+string(fault), func(t *testing.T) {
			p, reached := behind(t, http.StatusOK)
			p.Spoil(func(Call) Fault { return fault })
			response, err := send(t, p, http.MethodPut, ourSecret)
			if got := reached.Load(); got != want.reached {
				t.Errorf("%d calls reached the server, want %d", got, want.reached)
			}
			if want.code == 0 {
				if err == nil {
					t.Errorf("the answer came: %s", response.Status)
				}
				return
			}
			if err != nil || response.StatusCode != want.code {
				t.Fatalf("answer %v, %v, want %d", response, err, want.code)
			}
			content, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			var status metav1.Status
			if want.reason == "" {
				return
			}
			if err := json.Unmarshal(content, &status); err != nil || status.Reason != want.reason {
				t.Errorf("the body is %q: %v", content, err)
			}
		})
	}
}

func TestCallsAboutOthersAreNeitherSpoiltNorTold(t *testing.T) {
	p, reached := behind(t, http.StatusOK)
	p.Spoil(func(c Call) Fault { t.Errorf("asked about %s", c); return Refused })
	p.OnWrite(func(c Call) { t.Errorf("told of %s", c) })
	response, err := send(t, p, http.MethodPut, "/api/v1/namespaces/theirs/secrets/a")
	if err != nil || response.StatusCode != http.StatusOK || reached.Load() != 1 {
		t.Errorf("%v, %v", response, err)
	}
}

// A killed operator must not have had the answer.
func TestAWriteIsToldAfterItWasDoneAndBeforeItIsAnswered(t *testing.T) {
	p, reached := behind(t, http.StatusCreated)
	ctx, cancel := context.WithCancel(t.Context())
	var told []string
	p.OnWrite(func(c Call) {
		told = append(told, c.String())
		if reached.Load() != 1 {
			t.Error("told before it was done")
		}
		cancel() // what the kernel does with the connections of a killed process
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, p.URL+ourSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it was answered: %v, %v", response, err)
	}
	if diff := cmp.Diff([]string{"PUT secrets a"}, told); diff != "" {
		t.Error(diff)
	}
}

func TestWhatWasRefusedAndWhatDoesNotCountIsNotTold(t *testing.T) {
	for path, status := range map[string]int{ourSecret: http.StatusConflict, "/apis/events.k8s.io/v1/namespaces/ours/events": http.StatusCreated} {
		p, _ := behind(t, status)
		p.OnWrite(func(c Call) { t.Errorf("told of %s", c) })
		if _, err := send(t, p, http.MethodPost, path); err != nil {
			t.Error(err)
		}
	}
}
