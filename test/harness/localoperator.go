package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/test/platform"
)

// LocalOperator is the operator's own program as a process of the story, with the permissions that it has in the cluster, in front
// of a Proxy. It sees one namespace only.
type LocalOperator struct {
	*Proxy
	kube      *Kube
	root      string // it sees no other file, as in its image
	arguments []string
	env       []string
	log       *os.File

	mu      sync.Mutex
	running *operatorProcess
	starts  int
}

type operatorProcess struct {
	command *exec.Cmd
	killed  atomic.Bool
	ended   chan struct{}
}

// ErrOutOfReach says that pods cannot be reached from where the stories run, so no part of pgtls can run here.
var ErrOutOfReach = errors.New("the cluster's addresses are reachable from inside the throwaway cluster only")

// RunOperatorHere replaces the operator in the cluster. root is an empty directory; the log is written to the file that is named.
// Close brings the one in the cluster back.
func (c *Cluster) RunOperatorHere(ctx context.Context, client *ClientPod, images Images, root, logFile string) (*LocalOperator, error) {
	return c.runOperator(ctx, client, images, root, logFile, 0)
}

// RunOperatorBeside runs a second one: that in the cluster goes on.
func (c *Cluster) RunOperatorBeside(ctx context.Context, client *ClientPod, images Images, root, logFile string) (*LocalOperator, error) {
	return c.runOperator(ctx, client, images, root, logFile, 1)
}

// runOperator runs one here while a number of them run in the cluster.
func (c *Cluster) runOperator(ctx context.Context, client *ClientPod, images Images, root, logFile string, inCluster int) (*LocalOperator, error) {
	if os.Getenv(platform.ContextVariable) != "" {
		return nil, ErrOutOfReach
	}
	resolv, err := client.Run(ctx, "cat", "/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	proxy, err := c.Kube.proxyForOperator(ctx, c.Namespace)
	if err != nil {
		return nil, err
	}
	o := &LocalOperator{Proxy: proxy, kube: c.Kube, root: root, env: []string{"KUBECONFIG=/kubeconfig", "HOME=/", "USER=operator"}}
	o.arguments = []string{"--namespace=" + c.Namespace, "--operator-namespace=" + OperatorNamespace, "--health-probe-bind-address=0"}
	for variable, image := range relatedImages {
		o.env = append(o.env, variable+"="+images[image])
	}
	err = errors.Join(o.furnish(resolv), o.openLog(logFile))
	if err == nil {
		err = c.Kube.ScaleOperator(ctx, inCluster)
	}
	if err == nil {
		err = o.Start()
	}
	if err != nil {
		return nil, errors.Join(err, o.Close(context.WithoutCancel(ctx)))
	}
	return o, nil
}

// proxyForOperator acts as the operator's service account: what the program may not do in the cluster it may not do here.
func (k *Kube) proxyForOperator(ctx context.Context, namespace string) (*Proxy, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](2 * 60 * 60)}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: OperatorNamespace, Name: OperatorName}}
	if err := k.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("asking for a token of the operator's account: %w", err)
	}
	config, err := restConfig(k.context)
	if err != nil {
		return nil, err
	}
	upstream, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	asAccount := rest.AnonymousClientConfig(config)
	asAccount.BearerToken = request.Status.Token
	transport, err := rest.TransportFor(asAccount)
	if err != nil {
		return nil, fmt.Errorf("connecting a proxy with the API server: %w", err)
	}
	return StartProxy(upstream, transport, namespace)
}

// furnish puts into the operator's root what it has in its pod: its program, the cluster's DNS, and the way to the API server.
func (o *LocalOperator) furnish(resolv string) error {
	program, err := os.Open(filepath.Join(os.Getenv(RootVariable), "bin", "operator"))
	if err != nil {
		return fmt.Errorf("finding the operator's program: %w", err)
	}
	defer func() { _ = program.Close() }()
	target, err := os.OpenFile(filepath.Join(o.root, "operator"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("copying the operator's program: %w", err)
	}
	_, err = io.Copy(target, program)
	if err := errors.Join(err, target.Close()); err != nil {
		return fmt.Errorf("copying the operator's program: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(o.root, "etc"), 0o755); err != nil {
		return fmt.Errorf("furnishing the operator's root: %w", err)
	}
	if err := os.WriteFile(filepath.Join(o.root, "etc", "resolv.conf"), []byte(resolv+"\n"), 0o644); err != nil {
		return fmt.Errorf("furnishing the operator's root: %w", err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: o.URL}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	config.CurrentContext = "proxy"
	return clientcmd.WriteToFile(*config, filepath.Join(o.root, "kubeconfig"))
}

func (o *LocalOperator) openLog(file string) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the directory of the operator's log: %w", err)
	}
	if o.log, err = os.Create(file); err != nil {
		return fmt.Errorf("making the operator's log: %w", err)
	}
	return nil
}

// Start starts the program, which must not be running.
func (o *LocalOperator) Start() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	command := exec.Command("/operator", o.arguments...)
	command.Dir, command.Env, command.Stdout, command.Stderr = "/", o.env, o.log, o.log
	// It must not outlive this program.
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: o.root, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting the operator: %w", err)
	}
	o.starts++
	_, _ = fmt.Fprintf(o.log, "--- start %d at %s\n", o.starts, time.Now().Format("15:04:05.000"))
	process := &operatorProcess{command: command, ended: make(chan struct{})}
	o.running = process
	go func() {
		_ = command.Wait() // how it ended stands in its log
		close(process.ended)
	}()
	return nil
}

// Kill ends the program without letting it finish anything, and returns when nothing of it is left.
func (o *LocalOperator) Kill() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	process := o.running
	if process == nil {
		return nil
	}
	process.killed.Store(true)
	if err := process.command.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the operator: %w", err)
	}
	<-process.ended
	return nil
}

// Runs says why the program does not run although it was not killed; nil: it runs.
func (o *LocalOperator) Runs() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.running.ended:
		if !o.running.killed.Load() {
			return fmt.Errorf("the operator has ended by itself: %s, see %s", o.running.command.ProcessState, o.log.Name())
		}
	default:
	}
	return nil
}

// Told is the end of what the program has logged.
func (o *LocalOperator) Told() string {
	content, err := os.ReadFile(o.log.Name())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-shownLogLines):], "\n")
}

// Close ends the program and has the operator run in the cluster again.
func (o *LocalOperator) Close(ctx context.Context) error {
	err := o.Kill()
	o.Proxy.Close()
	if o.log != nil {
		err = errors.Join(err, o.log.Close())
	}
	return errors.Join(err, o.kube.ScaleOperator(ctx, 1))
}
