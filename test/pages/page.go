// Package pages runs the commands that pages tell people to run: openssl and kubectl for real, against a real API server.
//
// Vault and ACME issuers cannot run beside a test, so small stand-ins for their programs are on the path: see vault.go and
// certbot.go. Where a real vault is on the path, that is taken.
package pages

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Block is a fenced block of a page.
type Block struct {
	Language string
	Line     int // of its first line, from 1
	Text     string
}

const fence = "```"

// ReadBlocks returns the fenced blocks of a page.
func ReadBlocks(file string) ([]Block, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var blocks []Block
	var open *Block
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		language, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), fence)
		switch {
		case isFence && open == nil:
			open = &Block{Language: language, Line: number + 1}
		case isFence:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.Text += line
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block at line %d does not end", file, open.Line)
	}
	return blocks, nil
}

// Shell runs commands like a user's terminal into which they are pasted: all in one directory.
type Shell struct {
	Directory string
	Env       []string
}

// Run runs a block, which ends with the first command that fails. It returns what the commands wrote to standard output.
func (s Shell) Run(ctx context.Context, block Block) (string, error) {
	command := exec.CommandContext(ctx, "bash", "-Eeuo", "pipefail", "-c", block.Text)
	command.Dir, command.Env = s.Directory, s.Env
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("line %d: %w\n%s%s", block.Line, err, block.Text, stderr.String())
	}
	return stdout.String(), nil
}
