package pki

import (
	"fmt"
	"maps"
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

func TestRevisionIsFixedForEver(t *testing.T) {
	// Operator and agent may be of different versions: these values must never change.
	tests := map[string]map[string][]byte{
		"e3b0c44298fc1c14": nil, // SHA-256 of nothing
		"fe09560f3831daba": {"tls.crt": []byte("chain"), "tls.key": []byte("key"), "ca.crt": []byte("bundle")},
	}
	for want, data := range tests {
		if got := Revision(data); got != want {
			t.Errorf("revision %q, want %q", got, want)
		}
	}
}

func TestRevisionSeesEveryBoundary(t *testing.T) {
	different := []map[string][]byte{
		{},
		{"": nil},
		{"a": nil},
		{"a": []byte("b")},
		{"ab": nil},
		{"": []byte("ab")},
		{"a": nil, "b": nil},
		{"a": []byte("b"), "b": nil},
		{"a": []byte("b"), "b": []byte("c")},
		{"a": []byte("c"), "b": []byte("b")},
		{"a": []byte("bc")},
		{"a\x00b": nil},
		{"a": []byte("\x00b")},
		{"a": []byte("b\n")},
		{"a": []byte{0, 0, 0, 0, 0, 0, 0, 1, 'b'}},
	}
	seen := map[string]int{}
	for i, data := range different {
		revision := Revision(data)
		if j, ok := seen[revision]; ok {
			t.Errorf("%q and %q are both %s", different[j], data, revision)
		}
		seen[revision] = i
	}
}

func TestRevisionTellsContentsApart(t *testing.T) {
	// Few letters and short values, so that a boundary that was forgotten would soon collide.
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00\x01")), 0, 3, -1)
	content := rapid.MapOfN(text, text, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		a, b := content.Draw(t, "a"), content.Draw(t, "b")
		if rapid.Bool().Draw(t, "equal") {
			b = maps.Clone(a)
		}
		if same := Revision(asBytes(a)) == Revision(asBytes(b)); same != maps.Equal(a, b) {
			t.Fatalf("%q and %q: same revision %v", a, b, same)
		}
	})
}

func TestRevisionDoesNotDependOnTheOrderOfAMap(t *testing.T) {
	data := map[string][]byte{}
	for i := range 50 {
		data[fmt.Sprint("key", i)] = []byte{byte(i)}
	}
	want := Revision(data)
	for range 20 {
		if got := Revision(maps.Clone(data)); got != want {
			t.Fatalf("%s and %s", got, want)
		}
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(want) {
		t.Errorf("%q is not 16 lower-case hex digits", want)
	}
}

func asBytes(texts map[string]string) map[string][]byte {
	data := map[string][]byte{}
	for key, value := range texts {
		data[key] = []byte(value)
	}
	return data
}
