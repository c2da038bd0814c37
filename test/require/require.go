// Package require gives tests the real programs that they run beside: PostgreSQL, PgBouncer, openssl.
//
// A missing program skips the test on a developer's machine. Under PGTLS_REQUIRE_REAL=1, as "make test" sets it after it has
// installed the programs, it fails the test: a test that does not run in CI shows nothing.
package require

import (
	"os"
	"slices"
	"testing"

	"pgtls.dev/pgtls/hack/apt"
)

// Variable that makes a missing program a failure.
const Variable = "PGTLS_REQUIRE_REAL"

// Needs are all programs that unit tests run, and tests of documentation pages.
func Needs() []apt.Need {
	return []apt.Need{
		{File: "/usr/lib/postgresql/*/bin/postgres", Package: "postgresql"},
		{File: "pgbouncer", Package: "pgbouncer"},
		{File: "openssl", Package: "openssl"},
		{File: "prlimit", Package: "util-linux"},
		{File: "git", Package: "git"},
	}
}

// Program returns the path of a program by the package that brings it, which is one of Needs.
func Program(t testing.TB, debianPackage string) string {
	t.Helper()
	at := slices.IndexFunc(Needs(), func(n apt.Need) bool { return n.Package == debianPackage })
	if at < 0 {
		t.Fatalf("%s is no package of test/require: nothing installs it for \"make test\"", debianPackage)
	}
	path, found := Needs()[at].Find()
	if !found {
		Missing(t, "no "+Needs()[at].File+" on this machine: install "+debianPackage)
	}
	return path
}

// Missing ends a test that lacks what only the machine can give: it fails under Variable and is skipped otherwise.
func Missing(t testing.TB, lack string) {
	t.Helper()
	if os.Getenv(Variable) != "" {
		t.Fatal(lack)
	}
	t.Skip(lack)
}
