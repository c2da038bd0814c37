package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"pgtls.dev/pgtls/test/loadgen/record"
)

// A printer writes lines, one at a time for all its callers.
type printer struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func newPrinter(w io.Writer) *printer { return &printer{encoder: json.NewEncoder(w)} }

func (p *printer) print(line record.Line) {
	line.Time = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	// Without a reader of the lines an error has no reader either.
	_ = p.encoder.Encode(line)
}
