package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"pgtls.dev/pgtls/test/loadgen/record"
)

// A printer writes lines, one at a time whoever calls it.
type printer struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func newPrinter(w io.Writer) *printer { return &printer{encoder: json.NewEncoder(w)} }

func (p *printer) print(line record.Line) {
	line.Time = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	// Nobody left to read the lines is nobody left to tell.
	_ = p.encoder.Encode(line)
}
