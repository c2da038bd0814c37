package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const clientContainer = "client"

// ClientPod is where an application of the cluster would run: a pod with psql, pgbench and loadgen,
// in which the cluster's bundle and the default user's Secret are mounted.
type ClientPod struct {
	cluster *Cluster
	name    string
	users   []string // with client certificates, whose Secrets are mounted
	user    string   // as whom loadgen connects; "": the cluster's default user
}

// As is the same pod, with loads that connect as one of its users with client certificates.
func (p *ClientPod) As(user string) *ClientPod {
	as := *p
	as.user = user
	return &as
}

// UserDir is where the Secrets of a user with a client certificate are mounted.
func UserDir(user string) string { return "/users/" + user }

// account are loadgen's arguments that say which user connects.
func (p *ClientPod) account() []string {
	if p.user == "" {
		return nil
	}
	return []string{"--user=" + UserDir(p.user)}
}

// StartClient makes a client pod and waits until it runs. The Secrets of users with client certificates are mounted too.
func (c *Cluster) StartClient(ctx context.Context, images Images, users ...string) (*ClientPod, error) {
	p := &ClientPod{cluster: c, name: c.Name + "-client", users: users}
	if err := c.Kube.Create(ctx, p.object(images["client"])); err != nil {
		return nil, fmt.Errorf("creating the client pod: %w", err)
	}
	err := Await(ctx, "the client pod", 2*time.Minute, func(ctx context.Context) string {
		var pod corev1.Pod
		if err := c.Kube.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: p.name}, &pod); err != nil {
			return err.Error()
		}
		if pod.Status.Phase != corev1.PodRunning {
			return "it is " + string(pod.Status.Phase)
		}
		return ""
	})
	return p, err
}

func (p *ClientPod) object(image string) *corev1.Pod {
	mount := func(name, path string) corev1.VolumeMount {
		return corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: name != "tmp"}
	}
	secret := func(volume, name string) corev1.Volume {
		return corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: name, DefaultMode: ptr.To[int32](0o440),
		}}}
	}
	c := p.cluster
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: p.name, Labels: map[string]string{"app": "client"}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](26), RunAsGroup: ptr.To[int64](26), FSGroup: ptr.To[int64](26),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: clientContainer, Image: image,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				VolumeMounts: []corev1.VolumeMount{mount("ca", "/ca"), mount("user", "/user"), mount("operator", "/operator"), mount("tmp", "/tmp")},
			}},
			Volumes: []corev1.Volume{
				{Name: "ca", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: c.Name + "-ca"},
				}}},
				secret("user", c.Name+"-pguser-"+c.Name),
				// The stories look into PostgreSQL with the operator's certificate; an application has none.
				secret("operator", c.Name+"-operator-tls"),
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
		},
	}
	for _, user := range p.users {
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, mount("user-"+user, UserDir(user)))
		pod.Spec.Volumes = append(pod.Spec.Volumes, userVolume(c.Name, user))
	}
	return pod
}

// userVolume has what a user's two Secrets hold in one directory, as an application would mount them.
func userVolume(cluster, user string) corev1.Volume {
	part := func(name string, keys ...string) corev1.VolumeProjection {
		projection := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}}
		for _, key := range keys {
			projection.Items = append(projection.Items, corev1.KeyToPath{Key: key, Path: key})
		}
		return corev1.VolumeProjection{Secret: projection}
	}
	secret := cluster + "-pguser-" + user
	return corev1.Volume{Name: "user-" + user, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To[int32](0o440),
		Sources:     []corev1.VolumeProjection{part(secret, "user", "password", "dbname"), part(secret+"-cert", "tls.crt", "tls.key")},
	}}}
}

// command prepares a program in the pod.
func (p *ClientPod) command(ctx context.Context, argv ...string) *exec.Cmd {
	return p.cluster.Kube.Exec(ctx, p.cluster.Namespace, p.name, clientContainer, argv...)
}

// Run runs a program in the pod and returns its output, trimmed. The error quotes what the program said.
func (p *ClientPod) Run(ctx context.Context, argv ...string) (string, error) {
	return output(p.command(ctx, argv...), argv[0])
}

// WriteFile writes a file in the pod that only its programs read, and returns its path. The content goes as an argument: what
// is sent to the standard input of a program that ends at once does not always arrive whole.
func (p *ClientPod) WriteFile(ctx context.Context, name, content string) (string, error) {
	path := "/tmp/" + name
	if _, err := p.Run(ctx, "awk", `BEGIN { ORS = ""; print ARGV[1] > ARGV[2] }`, content, path); err != nil {
		return "", err
	}
	_, err := p.Run(ctx, "chmod", "0600", path)
	return path, err
}

// Exec prepares a program in any pod.
func (k *Kube) Exec(ctx context.Context, namespace, pod, container string, argv ...string) *exec.Cmd {
	arguments := []string{"exec", "--stdin", "--namespace", namespace, pod, "--container", container, "--"}
	if k.context != "" {
		arguments = append([]string{"--context", k.context}, arguments...)
	}
	command := exec.CommandContext(ctx, "kubectl", append(arguments, argv...)...)
	// Over a websocket kubectl (client-go 0.34) gives each write to standard input a deadline of a minute, and the one that says
	// that it is closed inherits that of the last: closed later than that, the stream is dead ("Websocket Ping failed: i/o
	// timeout"), and the last figures are lost.
	command.Env = append(os.Environ(), "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false")
	return command
}

// RunIn runs a program in any pod and returns its output, trimmed.
func (k *Kube) RunIn(ctx context.Context, namespace, pod, container string, argv ...string) (string, error) {
	return output(k.Exec(ctx, namespace, pod, container, argv...), argv[0])
}

func output(command *exec.Cmd, program string) (string, error) {
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return strings.TrimSpace(stdout.String()), fmt.Errorf("running %s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// A Login is how psql logs in.
type Login struct {
	Target   Target
	Database string
	SSLMode  string // verify-full unless set
	Address  string // to connect to, where DNS does not know the target's host; the certificate must still name the host
	// AsOperator logs in as the operator's role, by certificate alone; otherwise it is the cluster's default user.
	AsOperator bool
	// Certificate and Key are files in the pod to log in with in place of the operator's.
	Certificate, Key string
}

// Query runs one statement with psql in the pod and returns the rows, fields parted by "|".
func (p *ClientPod) Query(ctx context.Context, login Login, statement string) ([]string, error) {
	facts, err := p.connection(ctx, login)
	if err != nil {
		return nil, err
	}
	out, err := p.Run(ctx, "psql", "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--command", statement, facts)
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(out, "\n"), nil
}

// connection is a libpq connection string.
func (p *ClientPod) connection(ctx context.Context, login Login) (string, error) {
	mode := login.SSLMode
	if mode == "" {
		mode = "verify-full"
	}
	facts := fmt.Sprintf("host=%s port=%s sslmode=%s sslrootcert=/ca/ca.crt connect_timeout=15", login.Target.Host, login.Target.Port, mode)
	if login.Address != "" {
		facts += " hostaddr=" + login.Address
	}
	if login.AsOperator && login.Certificate != "" {
		return facts + fmt.Sprintf(" user=_pgtls dbname=postgres sslcert=%s sslkey=%s", login.Certificate, login.Key), nil
	}
	if login.AsOperator {
		return facts + " user=_pgtls dbname=postgres sslcert=/operator/client.crt sslkey=/operator/client.key", nil
	}
	var secret corev1.Secret
	name := p.cluster.Name + "-pguser-" + p.cluster.Name
	if err := p.cluster.Kube.Get(ctx, client.ObjectKey{Namespace: p.cluster.Namespace, Name: name}, &secret); err != nil {
		return "", fmt.Errorf("reading the user's Secret: %w", err)
	}
	database := login.Database
	if database == "" {
		database = string(secret.Data["dbname"])
	}
	return fmt.Sprintf("%s user=%s dbname=%s password=%s", facts, secret.Data["user"], database, quoted(string(secret.Data["password"]))), nil
}

// quoted is a value as libpq's connection strings want it.
func quoted(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// AsPrimary queries the primary with the operator's certificate.
func (p *ClientPod) AsPrimary(ctx context.Context, statement string) ([]string, error) {
	return p.Query(ctx, Login{Target: p.cluster.Service("primary"), AsOperator: true}, statement)
}

// Replication is which processes stream to which replicas since when, one line each: as long as
// it stays the same, replication was not interrupted.
func (p *ClientPod) Replication(ctx context.Context) ([]string, error) {
	return p.AsPrimary(ctx, "select application_name, pid, backend_start, state from pg_stat_replication order by 1")
}

// AwaitStreaming waits until that many replicas stream. A cluster may be ready before: a
// replica that serves what it has is ready, and asks for more only some seconds later.
func (p *ClientPod) AwaitStreaming(ctx context.Context, replicas int) error {
	return Await(ctx, fmt.Sprintf("%d replicas to stream", replicas), time.Minute, func(ctx context.Context) string {
		rows, err := p.AsPrimary(ctx, "select application_name from pg_stat_replication where state = 'streaming' and replay_lsn = pg_current_wal_lsn()")
		if err != nil {
			return err.Error()
		}
		if len(rows) != replicas {
			return fmt.Sprintf("%d stream and have caught up", len(rows))
		}
		return ""
	})
}
