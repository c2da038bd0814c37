package desired

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
)

// UserSecretFor renders a user's connection facts under the keys that PGO uses, plus ca.crt. bundle is what the
// ConfigMap CAConfigMap holds; empty while there is none yet.
func UserSecretFor(cluster *v1beta1.PostgresCluster, user v1beta1.UserSpec, credentials Credentials, bundle string) *corev1.Secret {
	labels := ComponentLabels(cluster.Name, UserComponent)
	labels[UserLabel] = user.Name
	data := map[string][]byte{}
	put := func(key, value string) {
		if value != "" {
			data[key] = []byte(value)
		}
	}
	direct := endpoint{host: ServiceHost(PrimaryService(cluster.Name), cluster.Namespace), port: agentapi.PostgresPort}
	database := firstDatabase(user)
	put("host", direct.host)
	put("port", direct.portText())
	put("dbname", database)
	put("user", user.Name)
	put("password", credentials.Password)
	put("verifier", credentials.Verifier)
	put("ca.crt", bundle)
	if database != "" {
		put("uri", direct.uri(user.Name, credentials.Password, database))
		put("jdbc-uri", direct.jdbc(user.Name, credentials.Password, database))
	}
	if spec := Pooler(cluster); spec != nil {
		pooler := endpoint{host: ServiceHost(PoolerName(cluster.Name), cluster.Namespace), port: PoolerPort(spec)}
		put("pgbouncer-host", pooler.host)
		put("pgbouncer-port", pooler.portText())
		if database != "" {
			put("pgbouncer-uri", pooler.uri(user.Name, credentials.Password, database))
			put("pgbouncer-jdbc-uri", pooler.jdbc(user.Name, credentials.Password, database)+"&prepareThreshold=0")
		}
	}
	return &corev1.Secret{
		ObjectMeta: Meta(cluster, UserSecret(cluster.Name, user.Name), labels),
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}

func firstDatabase(user v1beta1.UserSpec) string {
	if len(user.Databases) == 0 {
		return ""
	}
	return string(user.Databases[0])
}

type endpoint struct {
	host string
	port int32
}

func (e endpoint) portText() string { return strconv.Itoa(int(e.port)) }

func (e endpoint) address() string { return net.JoinHostPort(e.host, e.portText()) }

// uri asks for encryption only. verify-full needs a file with ca.crt, whose path the application knows.
func (e endpoint) uri(user, password, database string) string {
	location := url.URL{
		Scheme: "postgresql", User: url.UserPassword(user, password), Host: e.address(),
		Path: "/" + database, RawQuery: "sslmode=require",
	}
	return location.String()
}

func (e endpoint) jdbc(user, password, database string) string {
	query := url.Values{"user": {user}, "password": {password}, "sslmode": {"require"}}
	return fmt.Sprintf("jdbc:postgresql://%s/%s?%s", e.address(), url.PathEscape(database), query.Encode())
}
