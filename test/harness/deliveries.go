package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/test/loadgen/record"
)

// Delivery is one leaf on its way to one pod. Written is when a watch in this
// process saw the Secret; Served is when the line of the watcher in the client
// pod came in. The first lags behind the write and the second behind the
// handshake, each by a few milliseconds, and both are this process's clock.
type Delivery struct {
	Pod     string
	Serial  string
	Written time.Time
	Served  time.Time
}

// Took is the time to served.
func (d Delivery) Took() time.Duration { return max(0, d.Served.Sub(d.Written)) }

// Deliveries watches material Secrets on one side and the wire on the other.
type Deliveries struct {
	cluster *Cluster
	stream  *stream
	watch   watch.Interface
	done    sync.WaitGroup

	mu       sync.Mutex
	parties  map[string][]string  // pods by material Secret
	stored   map[string]string    // serial by material Secret, as last seen
	written  map[string]time.Time // by serial
	history  map[string][]served  // by pod, oldest first
	failures []Failure
	broken   error
	stopping bool
}

type served struct {
	serial string
	at     time.Time
}

// WatchDeliveries begins with what every pod serves now.
func (p *ClientPod) WatchDeliveries(ctx context.Context) (*Deliveries, error) {
	d := &Deliveries{
		cluster: p.cluster, parties: map[string][]string{}, stored: map[string]string{},
		written: map[string]time.Time{}, history: map[string][]served{},
	}
	endpoints, err := d.findPods(ctx)
	if err != nil {
		return nil, err
	}
	if d.stream, err = p.startLoadgen(ctx, d.receive, append([]string{"watch-served"}, targetArguments(endpoints)...)...); err != nil {
		return nil, err
	}
	if err := d.watchSecrets(ctx); err != nil {
		_ = d.stream.stop()
		return nil, err
	}
	return d, nil
}

func (d *Deliveries) findPods(ctx context.Context) ([]Target, error) {
	endpoints, err := d.cluster.Endpoints(ctx)
	if err != nil {
		return nil, err
	}
	for _, endpoint := range endpoints {
		secret := materialSecretOf(d.cluster.Name, endpoint.Name)
		d.parties[secret] = append(d.parties[secret], endpoint.Name)
	}
	return endpoints, nil
}

// materialSecretOf a pod: every instance has its own, all poolers have one.
func materialSecretOf(cluster, pod string) string {
	if strings.HasPrefix(pod, cluster+"-pgbouncer-") {
		return cluster + "-pgbouncer-tls"
	}
	return strings.TrimSuffix(pod, "-0") + "-tls"
}

// watchSecrets takes the present Secrets as known, so that only what is written from now on counts.
func (d *Deliveries) watchSecrets(ctx context.Context) error {
	var list corev1.SecretList
	inCluster := []client.ListOption{client.InNamespace(d.cluster.Namespace), client.MatchingLabels{ClusterLabel: d.cluster.Name}}
	if err := d.cluster.Kube.List(ctx, &list, inCluster...); err != nil {
		return fmt.Errorf("listing the Secrets to watch: %w", err)
	}
	for _, secret := range list.Items {
		d.stored[secret.Name] = storedSerial(secret)
	}
	resume := &client.ListOptions{}
	resume.ApplyOptions(inCluster)
	resume.Raw = resumeAt(list.ResourceVersion)
	events, err := d.cluster.Kube.Watch(ctx, &corev1.SecretList{}, resume)
	if err != nil {
		return fmt.Errorf("watching the Secrets: %w", err)
	}
	d.watch = events
	d.done.Go(func() {
		for event := range events.ResultChan() {
			d.secretSeen(event)
		}
	})
	return nil
}

func (d *Deliveries) secretSeen(event watch.Event) {
	now := time.Now()
	secret, ok := event.Object.(*corev1.Secret)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !ok && d.stopping {
		return // what a watch says when it is cut short
	}
	if !ok {
		d.broken = fmt.Errorf("watching the Secrets: %v", event.Object)
		return
	}
	serial := storedSerial(*secret)
	if event.Type == watch.Deleted || serial == "" || serial == d.stored[secret.Name] {
		return
	}
	d.stored[secret.Name], d.written[serial] = serial, now
	for _, pod := range d.parties[secret.Name] {
		_, _ = fmt.Fprintln(d.stream.stdin, pod)
	}
}

func (d *Deliveries) receive(line record.Line) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch line.Kind {
	case record.Served:
		d.history[line.Target] = append(d.history[line.Target], served{serial: line.Serial, at: now})
	case record.Failure:
		d.failures = append(d.failures, Failure{At: now, Target: line.Target, Client: "handshake", Error: line.Error})
	case record.Started, record.Totals, record.Lost:
	}
}

// Serving is the serial that each pod serves now.
func (d *Deliveries) Serving() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := map[string]string{}
	for pod, history := range d.history {
		now[pod] = history[len(history)-1].serial
	}
	return now
}

// Done are the deliveries that were seen from the Secret to the wire, in the order of serving.
func (d *Deliveries) Done() []Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Delivery
	for pod, history := range d.history {
		for _, h := range history {
			if written, ok := d.written[h.serial]; ok {
				all = append(all, Delivery{Pod: pod, Serial: h.serial, Written: written, Served: h.at})
			}
		}
	}
	slices.SortFunc(all, func(a, b Delivery) int { return a.Served.Compare(b.Served) })
	return all
}

// Failures are handshakes that did not come about.
func (d *Deliveries) Failures() []Failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Failure(nil), d.failures...)
}

// AwaitNew waits until every pod serves a leaf other than in before.
func (d *Deliveries) AwaitNew(ctx context.Context, before map[string]string, limit time.Duration) error {
	return Await(ctx, "new leaves on the wire", limit, func(context.Context) string {
		var old []string
		now := d.Serving()
		for pod, serial := range before {
			if now[pod] == serial {
				old = append(old, pod)
			}
		}
		slices.Sort(old)
		if len(old) > 0 {
			return "still the old one at " + strings.Join(old, ", ")
		}
		return ""
	})
}

// AwaitEveryPod waits until something is known of every pod.
func (d *Deliveries) AwaitEveryPod(ctx context.Context) error {
	return Await(ctx, "a first handshake with every pod", 30*time.Second, func(context.Context) string {
		wanted := 0
		for _, pods := range d.parties {
			wanted += len(pods)
		}
		if known := len(d.Serving()); known < wanted {
			return fmt.Sprintf("%d of %d shook hands", known, wanted)
		}
		return ""
	})
}

// Stop ends both watches. A watch that broke on the way makes the measurement worthless, and so an error.
func (d *Deliveries) Stop() error {
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	d.watch.Stop()
	d.done.Wait()
	if err := d.stream.stop(); err != nil {
		return err
	}
	return d.broken
}

// Spread of the times to served.
func (d *Deliveries) Spread() *Spread {
	var times []time.Duration
	for _, delivery := range d.Done() {
		times = append(times, delivery.Took())
	}
	return SpreadOf(times)
}

// storedSerial of the leaf in a material Secret that the process serves; empty if it holds none that can be read.
func storedSerial(secret corev1.Secret) string {
	leaf, err := leafOf(secret.Data[agentapi.ServedCertificate])
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", leaf.SerialNumber)
}

// Stale are the pods that serve something else than what is stored for them.
func (d *Deliveries) Stale(ctx context.Context) ([]string, error) {
	secrets, err := d.cluster.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	serving := d.Serving()
	var stale []string
	for _, secret := range secrets {
		for _, pod := range d.parties[secret.Name] {
			if serving[pod] != storedSerial(secret) {
				stale = append(stale, pod)
			}
		}
	}
	return stale, nil
}

// Latest is when a leaf was last seen for the first time on the wire.
func (d *Deliveries) Latest() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	var latest time.Time
	for _, history := range d.history {
		if at := history[len(history)-1].at; at.After(latest) {
			latest = at
		}
	}
	return latest
}
