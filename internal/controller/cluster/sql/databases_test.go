package sql

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/api/v1beta1"
)

func user(name, options string, databases ...v1beta1.DatabaseName) v1beta1.UserSpec {
	return v1beta1.UserSpec{Name: name, Options: options, Databases: databases}
}

func emptyCatalog() catalog {
	return catalog{roles: map[string]role{}, databases: map[string]bool{"postgres": true}, granted: map[[2]string]bool{}}
}

func sqlOf(statements []Statement) []string {
	var sql []string
	for _, s := range statements {
		sql = append(sql, s.SQL)
	}
	return sql
}

func TestANewClusterGetsRolesThenDatabases(t *testing.T) {
	users := []v1beta1.UserSpec{user("keeper", "CREATEDB", "zoo", "food"), user("guest", "", "zoo")}
	got := sqlOf(statementsFor(users, map[string]string{"keeper": "V1", "guest": "V2"}, emptyCatalog()))
	want := []string{
		`CREATE ROLE "keeper" LOGIN`,
		`ALTER ROLE "keeper" LOGIN PASSWORD E'V1'`,
		`ALTER ROLE "keeper" CREATEDB`,
		`CREATE ROLE "guest" LOGIN`,
		`ALTER ROLE "guest" LOGIN PASSWORD E'V2'`,
		`CREATE DATABASE "zoo" OWNER "keeper"`,
		`CREATE DATABASE "food" OWNER "keeper"`,
		`GRANT ALL PRIVILEGES ON DATABASE "zoo" TO "guest"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAtRestNothingIsWritten(t *testing.T) {
	live := emptyCatalog()
	live.roles["keeper"] = role{verifier: "V1", attributes: map[string]bool{"CREATEDB": true, "SUPERUSER": false}}
	live.databases["zoo"] = true
	live.granted[[2]string{"keeper", "zoo"}] = true
	users := []v1beta1.UserSpec{user("keeper", "createdb NOSUPERUSER", "zoo")}
	if got := statementsFor(users, map[string]string{"keeper": "V1"}, live); len(got) != 0 {
		t.Errorf("got %v", sqlOf(got))
	}
}

func TestOnlyWhatDiffersIsChanged(t *testing.T) {
	live := emptyCatalog()
	live.roles["keeper"] = role{verifier: "old", attributes: map[string]bool{"CREATEDB": true}}
	live.databases["zoo"] = true
	got := sqlOf(statementsFor([]v1beta1.UserSpec{user("keeper", "NOCREATEDB", "zoo")}, map[string]string{"keeper": "new"}, live))
	want := []string{
		`ALTER ROLE "keeper" LOGIN PASSWORD E'new'`,
		`ALTER ROLE "keeper" NOCREATEDB`,
		`GRANT ALL PRIVILEGES ON DATABASE "zoo" TO "keeper"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAUserWhoseSecretIsNotOursGetsNothing(t *testing.T) {
	if got := statementsFor([]v1beta1.UserSpec{user("keeper", "", "zoo")}, nil, emptyCatalog()); len(got) != 0 {
		t.Errorf("got %v", sqlOf(got))
	}
}

func TestQuoting(t *testing.T) {
	if got := identifier(`a"b`); got != `"a""b"` {
		t.Errorf("identifier: %s", got)
	}
	if got := literal(`it's \ that`); got != `E'it''s \\ that'` {
		t.Errorf("literal: %s", got)
	}
}
