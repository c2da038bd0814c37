//go:build envtest

package pages

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"pgtls.dev/pgtls/api/v1beta1"
)

const (
	namespace   = "postgres-operator" // of the pages, and so is the cluster's name
	clusterName = "hippo"
	startLimit  = 3 * time.Minute // the machine may be building something else meanwhile
	blockLimit  = time.Minute
)

var (
	kube       client.Client
	kubeconfig []byte
)

func TestMain(m *testing.M) {
	if program := programs[filepath.Base(os.Args[0])]; program != nil {
		if err := program(os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		os.Exit(0)
	}
	os.Exit(runWithAPIServer(m))
}

func runWithAPIServer(m *testing.M) (code int) {
	server := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(top, "config", "crd")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: startLimit,
		ControlPlaneStopTimeout:  startLimit,
	}
	defer func() {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the API server:", err)
			code = 1
		}
	}()
	if err := start(server); err != nil {
		fmt.Fprintln(os.Stderr, "starting the API server (is KUBEBUILDER_ASSETS set? run \"make test-envtest\"):", err)
		return 1
	}
	return m.Run()
}

func start(server *envtest.Environment) error {
	config, err := server.Start()
	if err != nil {
		return err
	}
	admin, err := server.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, config)
	if err != nil {
		return err
	}
	kubeconfig, err = admin.KubeConfig()
	if err != nil {
		return err
	}
	if err := v1beta1.AddToScheme(clientgoscheme.Scheme); err != nil {
		return err
	}
	kube, err = client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	return err
}

const top = "../.."

// page is one whose commands are run.
type page struct {
	file     string
	prepare  func(*testing.T, *Shell) (systemRoots []*x509.Certificate) // what is there before a reader begins
	replaced []string                                                   // which certificates of the cluster are his in the end
	warnings string                                                     // findings that the page says are to be expected
}

var pages = []page{
	{"company-ca.md", nil, []string{"server", "replication", "pgBouncer"}, ""},
	{"vault.md", prepareVault, []string{"server", "replication", "pgBouncer"}, ""},
	{"acme.md", prepareACME, []string{"server"}, "NameMissing"},
}

// runElsewhere are pages whose commands need more than an API server.
var runElsewhere = map[string]string{"cert-manager.md": "test/envtest"}

func TestEveryPageAboutAnIssuerIsRun(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(top, "docs", "issuers", "*.md"))
	if err != nil || len(files) < len(pages) {
		t.Fatalf("found %d pages (%v)", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		isRun := slices.ContainsFunc(pages, func(p page) bool { return p.file == name })
		if !isRun && runElsewhere[name] == "" {
			t.Errorf("no test runs the commands of docs/issuers/%s: add it to the pages", name)
		}
	}
}

func TestTheCommandsOfAPageDoWhatItSays(t *testing.T) {
	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	for _, page := range pages {
		t.Run(page.file, func(t *testing.T) {
			file := filepath.Join(top, "docs", "issuers", page.file)
			shell := newShell(t)
			makeCluster(t)
			reader := &reader{shell: shell, warnings: page.warnings, seen: map[string]map[string]bool{}}
			if page.prepare != nil {
				reader.systemRoots = page.prepare(t, shell)
			}
			blocks, err := ReadBlocks(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range blocks {
				reader.follow(t, page.file, block)
			}
			reader.wantReplaced(t, page.replaced)
		})
	}
}

// reader follows a page.
type reader struct {
	shell       *Shell
	systemRoots []*x509.Certificate
	warnings    string
	seen        map[string]map[string]bool // serial numbers by place
}

func (r *reader) follow(t *testing.T, page string, block Block) {
	t.Helper()
	switch block.Language {
	case "sh":
		ctx, cancel := context.WithTimeout(t.Context(), blockLimit)
		defer cancel()
		output, err := r.shell.Run(ctx, block)
		if err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		if strings.Contains(block.Text, "jsonpath=") && !strings.Contains(output, "CustomCertificateServer\tTrue\tPresented\t") {
			t.Errorf("%s, line %d: the conditions are shown as %q", page, block.Line, output)
		}
		r.judge(t, fmt.Sprintf("%s, line %d", page, block.Line))
	case "yaml":
		for document := range strings.SplitSeq(block.Text, "\n---\n") {
			if err := yaml.UnmarshalStrict([]byte(document), &map[string]any{}); err != nil {
				t.Errorf("%s, line %d: %v", page, block.Line, err)
			}
		}
	case "": // what a reader does elsewhere
	default:
		t.Errorf("%s, line %d: a block of %s, which no test runs", page, block.Line, block.Language)
	}
}

// wantReplaced looks whether each was issued, and the server's renewed.
func (r *reader) wantReplaced(t *testing.T, places []string) {
	t.Helper()
	for _, place := range places {
		if len(r.seen[place]) == 0 {
			t.Errorf("the page ends without a certificate for %s", place)
		}
	}
	if len(r.seen) != len(places) {
		t.Errorf("the page gives certificates for %v, want %v", r.seen, places)
	}
	if len(r.seen["server"]) < 2 {
		t.Error("the page does not renew the server's certificate")
	}
}

func newShell(t *testing.T) *Shell {
	t.Helper()
	programs := standIns(t)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(config, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return &Shell{Directory: t.TempDir(), Env: []string{
		"PATH=" + programs + ":" + os.Getenv("KUBEBUILDER_ASSETS") + ":" + os.Getenv("PATH"),
		"HOME=" + t.TempDir(), "KUBECONFIG=" + config,
	}}
}

// standIns is a directory in which this program has the names of those that it stands in for.
func standIns(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	for name := range programs {
		if _, err := exec.LookPath(name); err == nil && name == "vault" {
			continue
		}
		if err := os.Symlink(self, filepath.Join(directory, name)); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// makeCluster has conditions as the operator would have written them: none runs here.
func makeCluster(t *testing.T) {
	t.Helper()
	cluster := &v1beta1.PostgresCluster{}
	if err := yaml.UnmarshalStrict([]byte(`
metadata: {name: hippo, namespace: postgres-operator}
spec:
  postgresVersion: 17
  instances: [{name: instance1, replicas: 2, dataVolumeClaimSpec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
  proxy: {pgBouncer: {replicas: 2}}
`), cluster); err != nil {
		t.Fatal(err)
	}
	create(t, cluster)
	cluster.Status.Conditions = []metav1.Condition{{
		Type: "CustomCertificateServer", Status: metav1.ConditionTrue, Reason: "Presented", Message: "as told", LastTransitionTime: metav1.Now(),
	}}
	if err := kube.Status().Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		in := client.InNamespace(namespace)
		if err := errors.Join(kube.DeleteAllOf(ctx, &v1beta1.PostgresCluster{}, in), kube.DeleteAllOf(ctx, &corev1.Secret{}, in), kube.DeleteAllOf(ctx, &corev1.ConfigMap{}, in)); err != nil {
			t.Error(err)
		}
	})
}

func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := kube.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// prepareVault starts the stand-in, unless VAULT_ADDR and VAULT_TOKEN tell of a Vault whose mounts the page may make.
func prepareVault(t *testing.T, shell *Shell) []*x509.Certificate {
	t.Helper()
	address, token := os.Getenv("VAULT_ADDR"), os.Getenv("VAULT_TOKEN")
	if address == "" {
		server := httptest.NewServer(&Vault{})
		t.Cleanup(server.Close)
		address, token = server.URL, "any"
	}
	shell.Env = append(shell.Env, "VAULT_ADDR="+address, "VAULT_TOKEN="+token)
	return nil
}

// prepareACME makes the authority by which the stand-in for certbot issues; its root is what the system trusts.
func prepareACME(t *testing.T, shell *Shell) []*x509.Certificate {
	t.Helper()
	const life = 10 * 365 * 24 * time.Hour
	root := newIssuer("Stand-in public root", nil, life)
	directory := t.TempDir()
	if err := store(newIssuer("Stand-in public issuer", root, life/2), directory); err != nil {
		t.Fatal(err)
	}
	if err := writeFiles(shell.Directory, map[string]string{"acme-root.crt": string(root.PEM())}); err != nil {
		t.Fatal(err)
	}
	shell.Env = append(shell.Env, acmeIssuerVariable+"="+directory)
	return []*x509.Certificate{root.Certificate}
}

func TestABlockThatFailsIsNoticed(t *testing.T) {
	for _, text := range []string{"false\ntrue\n", "false | true\n", "echo $not_set_at_all\n", "no-such-program\n"} {
		shell := Shell{Directory: t.TempDir(), Env: os.Environ()}
		if _, err := shell.Run(t.Context(), Block{Text: text, Line: 7}); err == nil || !strings.Contains(err.Error(), "line 7") {
			t.Errorf("%q gives %v, want an error that names the line", text, err)
		}
	}
}

func TestTheStandInForVaultPrintsAFieldAsVaultDoes(t *testing.T) {
	var out strings.Builder
	if err := printField([]byte(`{"data": {"certificate": "PEM"}}`), "certificate", &out); err != nil || out.String() != "PEM" {
		t.Errorf("got %q, %v; want PEM without a line end", out.String(), err)
	}
	if err := printField([]byte(`{"data": {}}`), "certificate", io.Discard); err == nil {
		t.Error("a field that is not there is no error")
	}
}
