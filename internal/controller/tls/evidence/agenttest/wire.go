// Package agenttest is a network in memory with agents on it, for tests. No production code links it.
package agenttest

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Wire is a network in memory, so that tests may stand in a bubble of synctest.
type Wire struct {
	mu      sync.Mutex
	servers map[string]*Listener
	dials   int
}

func NewWire() *Wire { return &Wire{servers: map[string]*Listener{}} }

var ErrNobodyListens = errors.New("connection refused")

func (w *Wire) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dials++
	l := w.servers[address]
	w.mu.Unlock()
	if l == nil {
		return nil, ErrNobodyListens
	}
	near, far := net.Pipe()
	select {
	case l.connections <- far:
		return near, nil
	case <-l.closed:
		return nil, ErrNobodyListens
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *Wire) Dialed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials
}

func (w *Wire) Listen(address string) *Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &Listener{wire: w, address: address, connections: make(chan net.Conn), closed: make(chan struct{})}
	w.servers[address] = l
	return l
}

type Listener struct {
	wire        *Wire
	address     string
	connections chan net.Conn
	once        sync.Once
	closed      chan struct{}
	taken       []net.Conn
}

// hangUp breaks every connection. A farewell of TLS on a pipe would wait for a
// reader, and http.Server waits for farewells under its lock.
func (l *Listener) hangUp() {
	_ = l.Close()
	l.wire.mu.Lock()
	defer l.wire.mu.Unlock()
	for _, c := range l.taken {
		_ = c.Close()
	}
}

func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		l.wire.mu.Lock()
		defer l.wire.mu.Unlock()
		l.taken = append(l.taken, c)
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.wire.mu.Lock()
		defer l.wire.mu.Unlock()
		if l.wire.servers[l.address] == l {
			delete(l.wire.servers, l.address)
		}
	})
	return nil
}

func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.address} }
