package pgbouncer

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	"pgtls.dev/pgtls/internal/agentapi"
)

// INI is what differs between the configurations of poolers.
type INI struct {
	PrimaryHost string // host of the primary's Service, checked against what PostgreSQL serves
	Port        uint16 // 0 means 5432
	MinTLS      string // "1.2" or "1.3"

	// Global settings of the user. Those that are the operator's are refused, see Reserved.
	Global map[string]string
	// Databases of the user by name, each "key=value ..." as in pgbouncer.ini; without any, "*" leads to the primary.
	Databases map[string]string
	// Users of the user by name, each "key=value ...".
	Users map[string]string
}

// Sections of pgbouncer.ini.
const (
	databasesSection = "databases"
	globalSection    = "pgbouncer"
	usersSection     = "users"
)

// defaults are what a user may change.
func defaults() map[string]string {
	return map[string]string{
		"default_pool_size":         "20",
		"ignore_startup_parameters": "extra_float_digits",
		"max_client_conn":           "1000",
		"pool_mode":                 "session",
		// A new primary is to be used as soon as it is there: the default is 15 s.
		"server_login_retry":     "1",
		"server_connect_timeout": "3",
	}
}

// fixed are the operator's.
func fixed(c INI) map[string]string {
	current := func(name string) string { return path.Join(agentapi.CurrentDir, name) }
	protocols := "tlsv1.3"
	if c.MinTLS == "1.2" {
		protocols = "tlsv1.2,tlsv1.3"
	}
	return map[string]string{
		"listen_addr":          "*",
		"listen_port":          fmt.Sprint(c.port()),
		"unix_socket_dir":      agentapi.SocketDir,
		"unix_socket_mode":     "0700",
		"admin_users":          consoleName,
		"logfile":              agentapi.PGBouncerLog, // as well as stderr; see Console.Reload for what is dangerous about it
		"auth_type":            "scram-sha-256",
		"auth_user":            agentapi.PGBouncerIdentity,
		"auth_dbname":          "postgres",
		"auth_query":           "SELECT username, password FROM pgbouncer.get_auth($1)",
		"client_tls_sslmode":   "require",
		"client_tls_cert_file": current(agentapi.ServedCertificate),
		"client_tls_key_file":  current(agentapi.ServedKey),
		// Verifies no client: without it PgBouncer looks for its TLS library's default file and refuses to start.
		"client_tls_ca_file":   current(agentapi.ClientBundle),
		"client_tls_protocols": protocols,
		// Not verify-ca: then PgBouncer 1.24 passes no name on, and a handshake that is under way at a RELOAD looks at the settings
		// that this has freed; where it reads there that a name is to be verified, it ends in a segmentation fault (ADR 0016).
		"server_tls_sslmode":   "verify-full",
		"server_tls_ca_file":   current(agentapi.ServerBundle),
		"server_tls_cert_file": current(agentapi.ClientCertificate),
		"server_tls_key_file":  current(agentapi.ClientKey),
		"server_tls_protocols": protocols,
	}
}

func (c INI) port() uint16 {
	if c.Port == 0 {
		return agentapi.PostgresPort
	}
	return c.Port
}

// Reserved returns the global settings that the operator sets and refuses from the user, sorted. Files that could be
// read or written elsewhere are among them.
func Reserved() []string {
	names := slices.AppendSeq([]string{
		"auth_file", "auth_hba_file", "conffile", "job_name", "pidfile",
		"resolv_conf", "service_name", "so_reuseport", "stats_users", "syslog", "user",
	}, maps.Keys(fixed(INI{})))
	slices.Sort(names)
	return names
}

// RenderINI returns pgbouncer.ini. Equal input gives equal bytes.
//
// Errors: a reserved setting, or a name or value with a line break or another control character, which would
// smuggle settings in.
func RenderINI(c INI) (string, error) {
	if c.MinTLS != "1.2" && c.MinTLS != "1.3" {
		return "", fmt.Errorf("rendering pgbouncer.ini: minimum TLS version %q is neither 1.2 nor 1.3", c.MinTLS)
	}
	if c.PrimaryHost == "" {
		return "", fmt.Errorf("rendering pgbouncer.ini: the primary has no host")
	}
	reserved := Reserved()
	for name := range c.Global {
		if slices.Contains(reserved, strings.ToLower(strings.TrimSpace(name))) {
			return "", fmt.Errorf("rendering pgbouncer.ini: setting %q is the operator's: remove it", name)
		}
	}
	global := defaults()
	maps.Copy(global, c.Global)
	maps.Copy(global, fixed(c))
	return renderSections([]section{
		{databasesSection, databases(c)},
		{globalSection, global},
		{usersSection, c.Users},
	})
}

func databases(c INI) map[string]string {
	if len(c.Databases) > 0 {
		return c.Databases
	}
	return map[string]string{"*": fmt.Sprintf("host=%s port=%d", c.PrimaryHost, agentapi.PostgresPort)}
}

type section struct {
	name     string
	settings map[string]string
}

func renderSections(sections []section) (string, error) {
	var text strings.Builder
	for _, section := range sections {
		if len(section.settings) == 0 {
			continue
		}
		if text.Len() > 0 {
			text.WriteString("\n")
		}
		fmt.Fprintf(&text, "[%s]\n", section.name)
		for _, name := range slices.Sorted(maps.Keys(section.settings)) {
			if err := checkSetting(name, section.settings[name]); err != nil {
				return "", fmt.Errorf("rendering pgbouncer.ini: section %s: %w", section.name, err)
			}
			fmt.Fprintf(&text, "%s = %s\n", name, section.settings[name])
		}
	}
	return text.String(), nil
}

func checkSetting(name, value string) error {
	if strings.ContainsFunc(name+value, unicode.IsControl) {
		return fmt.Errorf("setting %q = %q has a control character: remove it", name, value)
	}
	if trimmed := strings.TrimSpace(name); trimmed == "" || trimmed != name || strings.ContainsAny(name, "[];#%=") {
		return fmt.Errorf("setting %q is no name: use letters, digits and _", name)
	}
	return nil
}
