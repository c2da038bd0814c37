package patroniyaml

import (
	"fmt"
	"path"

	"pgtls.dev/pgtls/internal/agentapi"
)

// baseFile is what Patroni has PostgreSQL include before its own parameters, in place of what initdb wrote. The operator mounts
// it. It is there for its last line: Patroni writes only settings that it knows, and no include.
const baseFile = "/etc/patroni/postgresql.conf"

func dataDir(version int) string { return fmt.Sprintf("%s/pg%d", dataRoot, version) }

// PostgresConf renders that file. First come the settings that initdb writes for a new cluster of ours and that are not
// PostgreSQL's own defaults: without them a new cluster would be in GMT and search texts without a language. A cluster of an
// earlier operator has them in the file that Patroni made of them, which wins. What a user sets in Patroni's dynamic
// configuration wins over both.
func PostgresConf(version int) string {
	return fmt.Sprintf(`# Written by pgtls. Patroni's parameters win over what stands here.
log_timezone = 'Etc/UTC'
timezone = 'Etc/UTC'
datestyle = 'iso, mdy'
lc_messages = 'C.UTF-8'
lc_monetary = 'C.UTF-8'
lc_numeric = 'C.UTF-8'
lc_time = 'C.UTF-8'
default_text_search_config = 'pg_catalog.english'
include_if_exists '%s'
# ssl_crl_file, while a client certificate is revoked.
include_if_exists '%s'
`, path.Join(dataDir(version), "postgresql.base.conf"), agentapi.RevocationSettings)
}
