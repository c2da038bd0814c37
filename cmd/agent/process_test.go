package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
)

// pod is the agent's binary beside a real PostgreSQL, under one uid.
type pod struct {
	*pgtest.Server
	t              *testing.T
	root           string
	server, client *pki.Authority
	agent          *exec.Cmd
	log            *lockedBuffer
	out            *lockedBuffer
	logFile        string
	url            string
	http           *http.Client
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer // not embedded: its ReadFrom would go past the lock
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func startPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{Server: pgtest.Prepare(t), t: t, log: &lockedBuffer{}, out: &lockedBuffer{}}
	p.root = filepath.Dir(p.DataDir)
	p.logFile = filepath.Join(p.root, "log.d", "postgresql.log")
	p.server, p.client = p.authority("server"), p.authority("client")
	for _, name := range []string{"material", "pod", "active", "log.d"} {
		p.must(os.Mkdir(filepath.Join(p.root, name), 0o755))
	}
	p.Own(t, filepath.Join(p.root, "active"), filepath.Dir(p.logFile))
	binary := filepath.Join(p.root, "agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(t)
	p.url = "https://" + address
	p.agent = exec.Command(binary, "--kind", "instance", "--pod", "hippo-a-0-0", "--process-port", strconv.Itoa(int(p.Port)),
		"--material-dir", filepath.Join(p.root, "material"), "--activate-file", filepath.Join(p.root, "pod", "activate"),
		"--active-dir", filepath.Join(p.root, "active"), "--socket-dir", p.SocketDir, "--log-file", p.logFile, "--listen", address, "--patroni-listen", freeAddress(t))
	p.agent.Stdout, p.agent.Stderr = p.out, p.log
	p.RunAs(p.agent)
	p.must(p.agent.Start())
	t.Cleanup(func() {
		_ = p.agent.Process.Kill()
		_ = p.agent.Wait()
	})
	p.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{p.operator()}}, DisableKeepAlives: true}}
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (p *pod) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pod) authority(domain string) *pki.Authority {
	a, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: "hippo " + domain + " ca g1", NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)})
	p.must(err)
	return a
}

func (p *pod) leaf(a *pki.Authority, name string, usage pki.Usage) (chain, key []byte) {
	request := pki.LeafRequest{CommonName: name, Usage: usage, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(30 * time.Minute)}
	if usage == pki.ServerAuth {
		request.DNSNames = []string{"localhost"}
	}
	pair, err := a.Issue(request)
	p.must(err)
	key, err = pair.EncodeKey()
	p.must(err)
	return pair.EncodeChain(), key
}

func (p *pod) operator() tls.Certificate {
	pair, err := tls.X509KeyPair(p.leaf(p.client, agentapi.OperatorIdentity, pki.ClientAuth))
	p.must(err)
	return pair
}

// deliver swaps the directories as the kubelet does, and returns the revision.
func (p *pod) deliver(n int) string {
	files := map[string][]byte{agentapi.ServerBundle: p.server.EncodeCertificate(), agentapi.ClientBundle: p.client.EncodeCertificate()}
	files[agentapi.ServerCertificate], files[agentapi.ServerKey] = p.leaf(p.server, "hippo-a-0-0", pki.ServerAuth)
	files[agentapi.ClientCertificate], files[agentapi.ClientKey] = p.leaf(p.client, agentapi.ReplicationIdentity, pki.ClientAuth)
	files[agentapi.ServedCertificate], files[agentapi.ServedKey] = files[agentapi.ServerCertificate], files[agentapi.ServerKey]
	files[agentapi.PresentedCertificate], files[agentapi.PresentedKey] = files[agentapi.ClientCertificate], files[agentapi.ClientKey]
	p.swap("material", n, files)
	revision := pki.Revision(files)
	p.swap("pod", n, map[string][]byte{"activate": []byte(revision)})
	return revision
}

func (p *pod) swap(volume string, n int, files map[string][]byte) {
	dir := filepath.Join(p.root, volume)
	next := fmt.Sprintf("..%d", n)
	p.must(os.Mkdir(filepath.Join(dir, next), 0o755))
	for name, content := range files {
		p.must(os.WriteFile(filepath.Join(dir, next, name), content, 0o644))
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)) // there since the first delivery
	}
	p.must(os.Symlink(next, filepath.Join(dir, "..data_tmp")))
	p.must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
}

func (p *pod) report(query string) (agentapi.Report, int, error) {
	response, err := p.http.Get(p.url + agentapi.PathReport + query)
	if err != nil {
		return agentapi.Report{}, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var report agentapi.Report
	if response.StatusCode == http.StatusOK {
		err = json.NewDecoder(response.Body).Decode(&report)
	}
	return report, response.StatusCode, err
}

// await follows the reports by long poll until a revision is active.
func (p *pod) await(revision string) agentapi.Report {
	p.t.Helper()
	query := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		report, status, err := p.report(query)
		switch {
		case err != nil || status == http.StatusForbidden: // not listening, or nothing installed yet
			time.Sleep(20 * time.Millisecond)
		case status == http.StatusOK && report.Active == revision && report.Problem == nil:
			return report
		case status == http.StatusOK:
			query = fmt.Sprintf("?boot=%s&after=%d&wait=5", report.Boot, report.Sequence)
		}
	}
	p.t.Fatalf("%s is not active\n%s", revision, p.log.text())
	return agentapi.Report{}
}

func (p *pod) residentBytes() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.agent.Process.Pid))
	p.must(err)
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		p.t.Fatalf("no VmRSS in %s", status)
	}
	kilobytes, _ := strconv.Atoi(string(found[1]))
	return kilobytes << 10
}

// storm fills PostgreSQL's log, of which the agent copies every line and keeps little.
func (p *pod) storm(first string) {
	const lines = 100_000
	before, start := p.cpu(), time.Now()
	p.SQL(p.t, "postgres", fmt.Sprintf("DO $$ BEGIN FOR n IN 1..%d LOOP RAISE LOG 'line %% of a storm', n; END LOOP; END $$", lines))
	took := time.Since(start)
	last := fmt.Sprintf("line %d of a storm", lines)
	for deadline := time.Now().Add(60 * time.Second); !strings.Contains(p.out.text(), last); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("the last line is not copied\n%s", p.log.text())
		}
	}
	out := p.out.text()
	if got := strings.Count(out, " of a storm\n"); got < lines {
		p.t.Errorf("%d of %d lines were copied", got, lines)
	}
	info, err := os.Stat(p.logFile)
	p.must(err)
	held := info.Sys().(*syscall.Stat_t).Blocks * 512
	if p.t.Logf("a log of %.1f MB in %v: held are %d kB, the agent took %v of CPU", float64(info.Size())/1e6, took, held>>10, p.cpu()-before); held > 1<<20 {
		p.t.Errorf("%d bytes of the log are held", held)
	}
	report, _, err := p.report("")
	p.must(err)
	if len(report.Refused) != 4 || report.Refused[0].Revision != report.Active || report.Refused[0].Count != 0 || report.Refused[3].Revision == first {
		p.t.Errorf("refused are %+v", report.Refused)
	}
}

// cpu is what the agent has used so far.
func (p *pod) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.agent.Process.Pid))
	p.must(err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')'):]))
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func TestTheBinaryBesideARealPostgreSQL(t *testing.T) {
	p := startPod(t)
	first := p.deliver(0)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // as the startup probe does
		response, err := p.http.Get(p.url + agentapi.PathHealth)
		if err == nil {
			_ = response.Body.Close()
		}
		if err == nil && response.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not healthy: %v\n%s", err, p.log.text())
		}
	}
	current := filepath.Join(p.root, "active", "current")
	p.Start(t, pgtest.Options{Settings: map[string]string{
		"ssl": "on", "ssl_cert_file": filepath.Join(current, agentapi.ServedCertificate), "ssl_key_file": filepath.Join(current, agentapi.ServedKey),
		"ssl_ca_file": filepath.Join(current, agentapi.ClientBundle), "ssl_min_protocol_version": "TLSv1.3",
		"logging_collector": "on", "log_directory": filepath.Dir(p.logFile), "log_filename": filepath.Base(p.logFile), "log_rotation_age": "0", "log_rotation_size": "0",
	}})
	p.await(first)
	for n := range 20 {
		start := time.Now()
		report := p.await(p.deliver(n + 1))
		if n < 3 {
			t.Logf("from the swap to the report of what is served: %v", time.Since(start))
		}
		if report.Served[0].Serial != report.ServerLeaf.Serial {
			t.Errorf("served is %+v", report.Served)
		}
	}
	p.storm(first)
	const limit = 15 << 20
	if got := p.residentBytes(); got > limit {
		t.Errorf("the agent has %d bytes resident, more than %d", got, limit)
	} else {
		t.Logf("resident: %.1f MB", float64(got)/1e6)
	}

	p.must(p.agent.Process.Signal(syscall.SIGTERM))
	start := time.Now()
	if err := p.agent.Wait(); err != nil {
		t.Errorf("ended with %v\n%s", err, p.log.text())
	}
	if elapsed := time.Since(start); elapsed > 3*time.Second {
		t.Errorf("ending took %v", elapsed)
	}
}
