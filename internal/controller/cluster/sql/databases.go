package sql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Changes reads what PostgreSQL has, and returns what has to be changed for the users of a spec, in its order. It writes nothing.
// verifiers are by user; a user without one is left for the round in which it has one.
func Changes(ctx context.Context, connection Database, users []v1beta1.UserSpec, verifiers map[string]string) ([]Statement, error) {
	live, err := readCatalog(ctx, connection)
	if err != nil {
		return nil, err
	}
	return statementsFor(users, verifiers, live), nil
}

// Do makes the changes one after the other, until one fails.
func Do(ctx context.Context, connection Database, statements []Statement) error {
	for _, statement := range statements {
		if _, err := connection.Query(ctx, statement.SQL); err != nil {
			return fmt.Errorf("%s: %w", statement.Does, err)
		}
	}
	return nil
}

// A catalog is what PostgreSQL has of roles and databases.
type catalog struct {
	roles     map[string]role
	databases map[string]bool
	granted   map[[2]string]bool // role and database: the role may create in it
	members   map[string]bool    // roles that log in by client certificate alone
}

type role struct {
	verifier   string
	attributes map[string]bool // by the word of ALTER ROLE that sets it
}

func readCatalog(ctx context.Context, connection Database) (catalog, error) {
	live := catalog{roles: map[string]role{}, databases: map[string]bool{}, granted: map[[2]string]bool{}, members: map[string]bool{}}
	rows, err := connection.Query(ctx, `SELECT rolname, coalesce(rolpassword, ''), rolsuper, rolinherit, rolcreaterole, rolcreatedb,
		rolcanlogin, rolreplication, rolbypassrls FROM pg_catalog.pg_authid`)
	if err != nil {
		return live, fmt.Errorf("reading roles: %w", err)
	}
	for _, row := range rows {
		attributes := map[string]bool{}
		for i, word := range []string{"SUPERUSER", "INHERIT", "CREATEROLE", "CREATEDB", "LOGIN", "REPLICATION", "BYPASSRLS"} {
			attributes[word] = row[i+2] == "t"
		}
		live.roles[row[0]] = role{verifier: row[1], attributes: attributes}
	}
	rows, err = connection.Query(ctx, `SELECT d.datname, coalesce(r.rolname, '') FROM pg_catalog.pg_database d
		LEFT JOIN pg_catalog.pg_roles r ON pg_catalog.has_database_privilege(r.oid, d.oid, 'CREATE')`)
	if err != nil {
		return live, fmt.Errorf("reading databases: %w", err)
	}
	for _, row := range rows {
		live.databases[row[0]] = true
		live.granted[[2]string{row[1], row[0]}] = true
	}
	return live, readMembers(ctx, connection, live.members)
}

// A Statement is one change, and what it does, for events and errors.
type Statement struct{ Does, SQL string }

// statementsFor returns what has to be changed, roles before the databases that they own.
// A user without a verifier is left for the round in which it has one.
func statementsFor(users []v1beta1.UserSpec, verifiers map[string]string, live catalog) []Statement {
	var changes []Statement
	for _, user := range users {
		if verifier := verifiers[user.Name]; verifier != "" {
			changes = append(changes, roleStatements(user, verifier, live)...)
		}
	}
	changes = append(changes, certificateStatements(users, verifiers, live)...)
	made := map[string]bool{}
	for _, user := range users {
		if verifiers[user.Name] == "" {
			continue
		}
		for _, name := range user.Databases {
			changes = append(changes, databaseStatements(user.Name, string(name), live, made)...)
		}
	}
	return changes
}

func roleStatements(user v1beta1.UserSpec, verifier string, live catalog) []Statement {
	have, exists := live.roles[user.Name]
	var changes []Statement
	if !exists {
		changes = append(changes, Statement{"making role " + user.Name, "CREATE ROLE " + identifier(user.Name) + " LOGIN"})
	}
	if have.verifier != verifier {
		changes = append(changes, Statement{
			"setting the password of " + user.Name,
			"ALTER ROLE " + identifier(user.Name) + " LOGIN PASSWORD " + literal(verifier),
		})
	}
	if !satisfies(have, user.Options) {
		changes = append(changes, Statement{"setting options of " + user.Name, "ALTER ROLE " + identifier(user.Name) + " " + user.Options})
	}
	return changes
}

// satisfies tells whether a role has every attribute in the options. A word that it does not know, such as CONNECTION LIMIT, is
// taken for the role's own setting and applied together with the others only.
func satisfies(have role, options string) bool {
	for _, word := range strings.Fields(strings.ToUpper(options)) {
		positive := strings.TrimPrefix(word, "NO")
		value, known := have.attributes[positive]
		if known && value != (positive == word) || have.attributes == nil {
			return false
		}
	}
	return true
}

func databaseStatements(user, name string, live catalog, made map[string]bool) []Statement {
	if !live.databases[name] && !made[name] {
		made[name] = true
		return []Statement{{"making database " + name, "CREATE DATABASE " + identifier(name) + " OWNER " + identifier(user)}}
	}
	if live.granted[[2]string{user, name}] {
		return nil
	}
	return []Statement{{"granting database " + name + " to " + user, "GRANT ALL PRIVILEGES ON DATABASE " + identifier(name) + " TO " + identifier(user)}}
}

// Summary is what the statements do, for an event.
func Summary(statements []Statement) string {
	var done []string
	for _, s := range statements {
		done = append(done, s.Does)
	}
	slices.Sort(done)
	return strings.Join(done, ", ")
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal quotes for standard_conforming_strings, which is on unless a user turned it off: an E literal holds either way.
func literal(text string) string {
	text = strings.ReplaceAll(text, `\`, `\\`)
	return `E'` + strings.ReplaceAll(text, `'`, `''`) + `'`
}
