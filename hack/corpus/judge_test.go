package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/test/corpus"
)

// TestDisagreement makes each side of a case wrong once.
func TestDisagreement(t *testing.T) {
	right, wrong := corpus.Case{}, corpus.Case{Want: custom.Expired}
	strict := corpus.Case{Want: custom.NotCA, Strict: "because"}
	refused := func(r custom.Reason) []custom.Finding {
		return []custom.Finding{{Reason: custom.Duplicate, Severity: custom.Warn}, {Reason: r, Severity: custom.Refuse}}
	}
	works, doesNot := verdict{works: true}, fails("no")
	tests := map[string]struct {
		judged judgement
		want   string
	}{
		"right":                       {judgement{right, nil, works, works}, ""},
		"wrong":                       {judgement{wrong, refused(custom.Expired), doesNot, verdict{}}, ""},
		"strict":                      {judgement{strict, refused(custom.NotCA), works, verdict{}}, ""},
		"right, refused":              {judgement{right, refused(custom.Expired), works, verdict{}}, "a right case is refused"},
		"right, does not work":        {judgement{right, nil, doesNot, works}, "marked as working"},
		"right, spoilt by us":         {judgement{right, nil, works, doesNot}, "not as pgtls would store it"},
		"wrong, accepted":             {judgement{wrong, nil, doesNot, doesNot}, "a wrong case is accepted"},
		"wrong, for another reason":   {judgement{wrong, refused(custom.NotCA), doesNot, verdict{}}, "another reason"},
		"wrong, and works":            {judgement{wrong, refused(custom.Expired), works, verdict{}}, "marked as not working"},
		"strict, and does not work":   {judgement{strict, refused(custom.NotCA), doesNot, verdict{}}, "marked as working"},
		"wrong, with a warning alone": {judgement{wrong, refused(custom.Expired)[:1], doesNot, doesNot}, "a wrong case is accepted"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := test.judged.disagreement()
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestProject(t *testing.T) {
	data := map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k"), "ca.crt": []byte("a"), "other": []byte("o")}
	tests := map[string]struct {
		items []custom.Item
		want  string // certificate, key, trust
		fails bool
	}{
		"no items":        {nil, "c k a", false},
		"mapped":          {[]custom.Item{{Key: "other", Path: "tls.crt"}, {Key: "tls.key", Path: "tls.key"}}, "o k ", false},
		"another path":    {[]custom.Item{{Key: "tls.crt", Path: "server.crt"}}, "  ", false},
		"no such key":     {[]custom.Item{{Key: "nothing", Path: "tls.crt"}}, "", true},
		"a path is there": {[]custom.Item{{Key: "tls.crt", Path: "tls.crt"}, {Key: "other", Path: "tls.crt"}}, "", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := project(custom.Input{Data: data, Items: test.items})
			if (err != nil) != test.fails {
				t.Fatalf("error %v", err)
			}
			if got := strings.Join([]string{string(m.certificate), string(m.key), string(m.trust)}, " "); err == nil && got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestRemoveWhiteouts(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"kept/file", "kept/gone", "kept/.wh.gone", "tree/a/b", ".wh.tree"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeWhiteouts(root); err != nil {
		t.Fatal(err)
	}
	var left []string
	_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, _ error) error {
		if !entry.IsDir() {
			left = append(left, strings.TrimPrefix(path, root+"/"))
		}
		return nil
	})
	if diff := cmp.Diff([]string{"kept/file"}, left); diff != "" {
		t.Errorf("left (+), want (-):\n%s", diff)
	}
}

func TestReadArchives(t *testing.T) {
	got, err := readArchives(strings.NewReader(`[{"name": "a", "archive": "/a.tar", "built": true}]`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "/a.tar"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := readArchives(strings.NewReader(`[{"name": "a", "archive": "/a.tar"}]`)); err == nil {
		t.Error("an image that is not built is taken")
	}
}
