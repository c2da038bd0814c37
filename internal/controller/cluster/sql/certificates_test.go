package sql

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/api/v1beta1"
)

func TestWhoLogsInByCertificateAlone(t *testing.T) {
	required := func(name string) v1beta1.UserSpec {
		return v1beta1.UserSpec{Name: name, ClientCertificate: &v1beta1.ClientCertificateSpec{Required: true}}
	}
	optional := v1beta1.UserSpec{Name: "ann", ClientCertificate: &v1beta1.ClientCertificateSpec{}}
	known := map[string]string{"ann": "V", "bob": "V"}
	tests := []struct {
		name    string
		users   []v1beta1.UserSpec
		members []string
		role    bool
		want    []string
	}{
		{"no user", []v1beta1.UserSpec{optional, {Name: "bob"}}, nil, false, nil},
		{"the first ones", []v1beta1.UserSpec{required("ann"), required("bob")}, nil, false,
			[]string{`CREATE ROLE "_pgtlscert" NOLOGIN`, `GRANT "_pgtlscert" TO "ann"`, `GRANT "_pgtlscert" TO "bob"`}},
		{"another one", []v1beta1.UserSpec{required("ann"), required("bob")}, []string{"ann"}, true, []string{`GRANT "_pgtlscert" TO "bob"`}},
		{"no user any more", []v1beta1.UserSpec{optional, {Name: "bob"}}, []string{"ann", "bob"}, true,
			[]string{`REVOKE "_pgtlscert" FROM "ann"`, `REVOKE "_pgtlscert" FROM "bob"`}},
		{"not one whose role is not ours", []v1beta1.UserSpec{required("eve")}, nil, true, nil},
		{"at rest", []v1beta1.UserSpec{required("ann")}, []string{"ann", "eve"}, true, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			live := emptyCatalog()
			live.members = map[string]bool{}
			for _, member := range test.members {
				live.members[member] = true
			}
			if test.role {
				live.roles["_pgtlscert"] = role{}
			}
			if diff := cmp.Diff(test.want, sqlOf(certificateStatements(test.users, known, live))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
