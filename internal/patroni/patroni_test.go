package patroni

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fakePatroni answers as Patroni does, and remembers what changed it.
type fakePatroni struct {
	config  map[string]any
	cluster string
	status  int // of changes; 0 means 200
	asked   []string
}

func start(t *testing.T, f *fakePatroni) *Client {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.Method + " " + r.URL.Path {
		case "GET /cluster":
			_, _ = io.WriteString(w, f.cluster)
		case "GET /config":
			_ = json.NewEncoder(w).Encode(f.config)
		default:
			f.asked = append(f.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
			if f.status != 0 {
				w.WriteHeader(f.status)
				_, _ = io.WriteString(w, strings.Repeat("reason ", 100))
			}
		}
	}))
	t.Cleanup(server.Close)
	client := NewClient(server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	t.Cleanup(client.Close)
	return client
}

// As Patroni 4.0 answers; 3.0 leaves out what it does not know.
const threeMembers = `{"members": [
 {"name": "hippo-a-0-0", "role": "leader", "state": "running", "api_url": "https://hippo-a-0-0.hippo-pods.ns.svc:8008/patroni", "host": "hippo-a-0-0.hippo-pods.ns.svc", "port": 5432, "timeline": 3},
 {"name": "hippo-a-1-0", "role": "replica", "state": "streaming", "host": "hippo-a-1-0.hippo-pods.ns.svc", "port": 5432, "timeline": 3, "lag": 42, "pending_restart": true, "pending_restart_reason": {"max_connections": {"old_value": "100", "new_value": "200"}}},
 {"name": "hippo-a-2-0", "role": "sync_standby", "state": "starting", "host": "hippo-a-2-0.hippo-pods.ns.svc", "port": 5432, "lag": "unknown"}
], "scope": "hippo-ha"}`

func TestCluster(t *testing.T) {
	client := start(t, &fakePatroni{cluster: threeMembers})
	got, err := client.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Cluster{Scope: "hippo-ha", Members: []Member{
		{Name: "hippo-a-0-0", Role: Leader, State: "running", Host: "hippo-a-0-0.hippo-pods.ns.svc", Port: 5432, Timeline: 3},
		{Name: "hippo-a-1-0", Role: Replica, State: "streaming", Host: "hippo-a-1-0.hippo-pods.ns.svc", Port: 5432, Timeline: 3, Lag: Lag{42, true}, PendingRestart: true},
		{Name: "hippo-a-2-0", Role: SyncStandby, State: "starting", Host: "hippo-a-2-0.hippo-pods.ns.svc", Port: 5432},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if leader, ok := got.Leader(); !ok || leader.Name != "hippo-a-0-0" || !leader.Healthy() {
		t.Errorf("leader is %+v", leader)
	}
	if member, ok := got.Member("hippo-a-2-0"); !ok || member.Healthy() {
		t.Errorf("member is %+v", member)
	}
	if _, ok := got.Member("hippo-b-0-0"); ok {
		t.Error("found a member that is not there")
	}
	if _, ok := (Cluster{Members: got.Members[1:]}).Leader(); ok {
		t.Error("found a leader among replicas")
	}
	if leader, ok := (Cluster{Members: []Member{{Name: "s", Role: StandbyLeader}}}).Leader(); !ok || leader.Name != "s" {
		t.Error("the leader of a standby cluster does not count")
	}
}

func TestChanges(t *testing.T) {
	patroni := &fakePatroni{}
	client := start(t, patroni)
	ctx := t.Context()
	err := errors.Join(
		client.Switchover(ctx, "hippo-a-0-0", "hippo-a-1-0"), client.Switchover(ctx, "hippo-a-0-0", ""),
		client.Restart(ctx), client.Reload(ctx),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`POST /switchover {"candidate":"hippo-a-1-0","leader":"hippo-a-0-0"}`,
		`POST /switchover {"leader":"hippo-a-0-0"}`,
		`POST /restart {}`,
		`POST /reload`,
	}
	if diff := cmp.Diff(want, patroni.asked); diff != "" {
		t.Error(diff)
	}
}

func TestARefusalIsTyped(t *testing.T) {
	client := start(t, &fakePatroni{status: http.StatusPreconditionFailed, config: map[string]any{}})
	for name, err := range map[string]error{
		"switchover": client.Switchover(t.Context(), "a", "b"),
		"restart":    client.Restart(t.Context()),
		"reload":     client.Reload(t.Context()),
		"config":     func() error { _, err := client.PatchConfig(t.Context(), map[string]any{"ttl": 20}); return err }(),
	} {
		refusal, ok := errors.AsType[*StatusError](err)
		if !ok || refusal.Status != http.StatusPreconditionFailed || len(refusal.Body) > maxErrorText {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoJSONIsAnError(t *testing.T) {
	client := start(t, &fakePatroni{cluster: "<html>"})
	if _, err := client.Cluster(t.Context()); err == nil || !strings.Contains(err.Error(), "GET /cluster") {
		t.Errorf("got %v", err)
	}
}

func TestPatchConfigWritesOnlyDifferences(t *testing.T) {
	patroni := &fakePatroni{config: map[string]any{
		"ttl": 30, "loop_wait": 10,
		"postgresql": map[string]any{"use_pg_rewind": true, "parameters": map[string]any{"work_mem": "4MB", "max_connections": "100"}},
	}}
	client := start(t, patroni)
	same := map[string]any{"ttl": 30, "postgresql": map[string]any{"parameters": map[string]any{"max_connections": 100}}}
	if changed, err := client.PatchConfig(t.Context(), same); err != nil || changed || patroni.asked != nil {
		t.Errorf("an equal configuration is written: %v %v %v", changed, err, patroni.asked)
	}
	other := map[string]any{"ttl": 20, "loop_wait": 10, "postgresql": map[string]any{"parameters": map[string]any{"max_connections": 200, "work_mem": nil, "wal_level": nil}}}
	if changed, err := client.PatchConfig(t.Context(), other); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	want := []string{`PATCH /config {"postgresql":{"parameters":{"max_connections":200,"work_mem":null}},"ttl":20}`}
	if diff := cmp.Diff(want, patroni.asked); diff != "" {
		t.Error(diff)
	}
}

// patched is what Patroni makes of a patch (patroni.config.patch_config): the slow, obvious second implementation.
func patched(config, patch map[string]any) map[string]any {
	result := map[string]any{}
	for key, value := range config {
		result[key] = value
	}
	for key, value := range patch {
		inner, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(result, key)
		case isObject:
			have, _ := result[key].(map[string]any)
			result[key] = patched(have, inner)
		default:
			result[key] = value
		}
	}
	return result
}

func drawConfig(t *rapid.T, label string, depth int, nils bool) map[string]any {
	config := map[string]any{}
	for _, key := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID).Draw(t, label) {
		switch kind := rapid.IntRange(0, 3).Draw(t, label+key); {
		case kind == 0 && depth > 0:
			config[key] = drawConfig(t, label+key, depth-1, nils)
		case kind == 1 && nils:
			config[key] = nil
		default:
			config[key] = rapid.SampledFrom([]any{1, 2, "x", true}).Draw(t, label+key+" value")
		}
	}
	return config
}

// After the patch there is no difference any more, and without a difference there is no patch.
func TestDifferenceConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		current, desired := drawConfig(t, "current", 2, false), drawConfig(t, "desired", 2, true)
		after := patched(current, Difference(current, desired))
		if again := Difference(after, desired); again != nil {
			t.Fatalf("after the patch %v stands %v, which still differs by %v", Difference(current, desired), after, again)
		}
	})
}
