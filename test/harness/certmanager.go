package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// CertManagerVariable names the environment variable with the path that "go run ./hack/certmanager build" prints.
const CertManagerVariable = "PGTLS_CERT_MANAGER"

// certManagerEndLimit is for it to end by itself, which takes it no second.
const certManagerEndLimit = 10 * time.Second

// CertManager is cert-manager's own controller as a process of the test.
type CertManager struct {
	program, kubeconfig string
	log                 *os.File
	running             *exec.Cmd // nil: it does not run
}

// StartCertManager has the API server know cert-manager's kinds, and its controller run, until the test ends. It runs in the
// network namespace of the test, and writes its log to the file that is named.
func StartCertManager(t testing.TB, config *rest.Config, logFile string) *CertManager {
	t.Helper()
	program := os.Getenv(CertManagerVariable)
	if program == "" {
		t.Fatalf("%s is not set: set it to what \"go run ./hack/certmanager build\" prints", CertManagerVariable)
	}
	definitions, err := newDefinitions(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := definitions.remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err := definitions.install(t.Context(), filepath.Join(filepath.Dir(program), "crds.yaml")); err != nil {
		t.Fatal(err)
	}
	c := &CertManager{program: program, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := errors.Join(writeKubeconfig(config, c.kubeconfig), c.openLog(logFile)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Stop(), c.log.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *CertManager) openLog(file string) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the directory of cert-manager's log: %w", err)
	}
	if c.log, err = os.Create(file); err != nil {
		return fmt.Errorf("making cert-manager's log: %w", err)
	}
	return nil
}

// Start starts the controller unless it runs.
func (c *CertManager) Start() error {
	if c.running != nil {
		return nil
	}
	command := exec.Command(c.program, "--kubeconfig="+c.kubeconfig)
	command.Dir, command.Env, command.Stdout, command.Stderr = "/", []string{"HOME=/"}, c.log, c.log
	// It must not outlive this program.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting cert-manager: %w", err)
	}
	c.running = command
	return nil
}

// Stop ends the controller and returns when nothing of it is left. One that had ended by itself is an error.
func (c *CertManager) Stop() error {
	command := c.running
	if command == nil {
		return nil
	}
	c.running = nil
	early := command.Process.Signal(syscall.SIGTERM)
	killing := time.AfterFunc(certManagerEndLimit, func() { _ = command.Process.Kill() })
	defer killing.Stop()
	if err := errors.Join(early, command.Wait()); err != nil {
		return fmt.Errorf("cert-manager ended: %w, see %s", err, c.log.Name())
	}
	return nil
}

// writeKubeconfig writes how config reaches the API server, for a program that reads no other form.
func writeKubeconfig(config *rest.Config, file string) error {
	config = rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(config); err != nil {
		return fmt.Errorf("reading the credentials for %s: %w", config.Host, err)
	}
	written := clientcmdapi.NewConfig()
	written.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData, TLSServerName: config.ServerName}
	written.AuthInfos["test"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken, TokenFile: config.BearerTokenFile,
	}
	written.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	written.CurrentContext = "test"
	return clientcmd.WriteToFile(*written, file)
}

// Config is how this test reaches the API server, for programs that it starts.
func (k *Kube) Config() (*rest.Config, error) { return restConfig(k.context) }
