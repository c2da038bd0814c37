package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// avoidedWords stand in the place of a noun, or have a word of the field in their place: a page or a message says which client,
// verifier, user or object it is about.
var avoidedWords = regexp.MustCompile(`(?i)\b(nobody('s)?|somebody('s)?|everybody('s)?|anybody('s)?|whoever|unborn|speechless|nudged?|come to rest|(world )?moved on)\b`)

// wordsApart may hold an avoided word. An entry that is not needed any more is an error.
var wordsApart = []struct{ file, text, why string }{
	{"internal/pgbouncer/console.go", "user=nobody", "the name of a role that does not exist"},
	{"internal/postgres/postgres.go", "user=nobody", "the name of a role that does not exist"},
	{"internal/postgres/pgtest/pgtest.go", `"nobody"`, "the account of Debian"},
}

// prose is a piece of text that a reader meets, with its place.
type prose struct{ file, text string }

// TestWords: pages, and the comments and texts of the product, name the thing that acts.
func TestWords(t *testing.T) {
	top := root(t)
	needed := map[int]bool{}
	pieces := 0
	for _, file := range trackedFiles(t, top) {
		for _, p := range proseOf(t, top, file) {
			pieces++
			for _, word := range avoided(p, needed) {
				t.Errorf("%s: %q in %q: name the client, verifier, user or object instead", p.file, word, strings.TrimSpace(p.text))
			}
		}
	}
	if pieces < 1000 {
		t.Errorf("only %d pieces of prose were found", pieces)
	}
	for i, apart := range wordsApart {
		if !needed[i] {
			t.Errorf("%s holds no %q any more: drop it from wordsApart", apart.file, apart.text)
		}
	}
}

// TestAvoidedWordsAreFound shows each kind of text once, and what is no prose.
func TestAvoidedWordsAreFound(t *testing.T) {
	page := "# A page\nNobody reads\n```sh\ndistinguished_name = nobody\n```\nand `user=nobody` is no word, Somebody's is.\n"
	code := "package x\n\n// whoever comes\nvar NobodyListens = \"it has moved on\" // fine\n"
	var found []string
	for _, p := range append(proseOfPage("a.md", page), proseOfCode(t, "a.go", []byte(code))...) {
		found = append(found, avoided(p, map[int]bool{})...)
	}
	if want := []string{"Nobody", "Somebody's", "whoever", "moved on"}; !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}

// avoided returns the avoided words of a piece, and notes which exceptions it needs.
func avoided(p prose, needed map[int]bool) []string {
	text := p.text
	for i, apart := range wordsApart {
		if apart.file == p.file && strings.Contains(text, apart.text) {
			needed[i] = true
			text = strings.ReplaceAll(text, apart.text, "")
		}
	}
	return avoidedWords.FindAllString(text, -1)
}

// proseOf returns the prose of a tracked file: of pages, and of product code.
func proseOf(t *testing.T, top, file string) []prose {
	t.Helper()
	isPage := strings.HasSuffix(file, ".md")
	isProduct := strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") && within(file, []string{"api", "cmd", "internal"})
	if !isPage && !isProduct {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(top, file))
	switch {
	case err != nil:
		return nil // deleted, not yet committed
	case isPage:
		return proseOfPage(file, string(content))
	default:
		return proseOfCode(t, file, content)
	}
}

var (
	fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inline = regexp.MustCompile("`[^`\n]*`")
)

// proseOfPage is a page without its code, line by line.
func proseOfPage(file, page string) (pieces []prose) {
	page = inline.ReplaceAllString(fenced.ReplaceAllString(page, ""), "")
	for line := range strings.Lines(page) {
		pieces = append(pieces, prose{file, line})
	}
	return pieces
}

// proseOfCode are the comments and the texts of a Go file.
func proseOfCode(t *testing.T, file string, source []byte) (pieces []prose) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range parsed.Comments {
		for _, line := range group.List {
			pieces = append(pieces, prose{file, line.Text})
		}
	}
	ast.Inspect(parsed, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			pieces = append(pieces, prose{file, literal.Value})
		}
		return true
	})
	return pieces
}
