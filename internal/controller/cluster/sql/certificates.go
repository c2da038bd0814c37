package sql

import (
	"context"
	"fmt"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
)

// A user that logs in by client certificate alone is a member of one role, which a line of pg_hba.conf names: no file has to change
// when a user joins or leaves, no pod, and replicas learn it with everything else.

func readMembers(ctx context.Context, connection Database, members map[string]bool) error {
	rows, err := connection.Query(ctx, `SELECT m.rolname FROM pg_catalog.pg_auth_members a
		JOIN pg_catalog.pg_roles g ON g.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member WHERE g.rolname = $1`, agentapi.CertificateRole)
	if err != nil {
		return fmt.Errorf("reading the users that log in by certificate: %w", err)
	}
	for _, row := range rows {
		members[row[0]] = true
	}
	return nil
}

// certificateStatements make users that must present a certificate members, and no others of the spec. Roles that the spec does
// not name are left as they are.
func certificateStatements(users []v1beta1.UserSpec, verifiers map[string]string, live catalog) []Statement {
	role := identifier(agentapi.CertificateRole)
	_, exists := live.roles[agentapi.CertificateRole]
	var changes []Statement
	for _, user := range users {
		required := user.ClientCertificate != nil && user.ClientCertificate.Required
		switch {
		case verifiers[user.Name] == "" || required == live.members[user.Name]:
		case required:
			if !exists {
				changes = append(changes, Statement{"making role " + agentapi.CertificateRole, "CREATE ROLE " + role + " NOLOGIN"})
				exists = true
			}
			changes = append(changes, Statement{"requiring a client certificate of " + user.Name, "GRANT " + role + " TO " + identifier(user.Name)})
		default:
			changes = append(changes, Statement{"requiring no client certificate of " + user.Name, "REVOKE " + role + " FROM " + identifier(user.Name)})
		}
	}
	return changes
}
