package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"
)

func TestStartupMessage(t *testing.T) {
	got := startupMessage("_pgtls", "postgres")
	if length := binary.BigEndian.Uint32(got); int(length) != len(got) || binary.BigEndian.Uint32(got[4:]) != 196608 {
		t.Errorf("header of %q", got)
	}
	if want := "user\x00_pgtls\x00database\x00postgres\x00application_name\x00pgtls probe\x00\x00"; string(got[8:]) != want {
		t.Errorf("body is %q", got[8:])
	}
}

func TestReadLogin(t *testing.T) {
	parameter := "S\x00\x00\x00\x08a\x00b\x00"
	tests := []struct {
		name, text, answer string
		refuses            bool
		fails              bool
	}{
		{name: "logged in", text: string(authenticationOK()), answer: "Z"},
		{name: "asks for SCRAM", text: "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00", answer: "R"},
		{name: "no such role", text: string(authenticationOK()[:9]) + string(failure("28000", "m")), answer: "28000", refuses: true},
		{name: "no line in pg_hba.conf", text: string(failure("28P01", "m")), answer: "28P01", refuses: true},
		{name: "PgBouncer refuses", text: string(failure("08P01", "m")), answer: "08P01", refuses: true},
		{name: "too many connections", text: string(failure("53300", "m")), answer: "53300"},
		{name: "no such database", text: string(authenticationOK()[:9]) + string(failure("3D000", "m")), answer: "3D000"},
		{name: "ends early", text: "R\x00\x00\x00\x08\x00\x00\x00\x00" + parameter, fails: true},
		{name: "never ends", text: strings.Repeat(parameter, maxReplies+1), fails: true},
		{name: "too long", text: "E\x7f\xff\xff\xff", fails: true},
		{name: "too short", text: "Z\x00\x00\x00\x00", fails: true},
		{name: "another protocol", text: "HTTP/1.1 200 OK\r\n", fails: true},
		{name: "nothing", fails: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply, err := readLogin(bufio.NewReader(strings.NewReader(test.text)))
			if (err != nil) != test.fails {
				t.Fatalf("error %v", err)
			}
			if err == nil && (reply.answer() != test.answer || reply.refusesClient() != test.refuses) {
				t.Errorf("answer %q, refuses %v", reply.answer(), reply.refusesClient())
			}
		})
	}
}

func TestErrorFields(t *testing.T) {
	state, message := errorFields([]byte("SFATAL\x00VFATAL\x00C28000\x00Mno entry\x00Fauth.c\x00L1\x00\x00"))
	if state != "28000" || message != "no entry" {
		t.Errorf("got %q %q", state, message)
	}
	if state, message := errorFields([]byte("garbage")); state != "" || message != "" {
		t.Errorf("got %q %q", state, message)
	}
}

// What is asked of the server goes out whole, and nothing before it is asked for: a proxy that buffers would show.
func TestRequestTLSReadsOneByteOnly(t *testing.T) {
	client, server := net.Pipe()
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	done := make(chan error, 1)
	go func() { done <- requestTLS(client) }()
	request := make([]byte, 8)
	if _, err := server.Read(request); err != nil || !bytes.Equal(request, []byte{0, 0, 0, 8, 4, 210, 22, 47}) {
		t.Fatalf("request %v, %v", request, err)
	}
	written := make(chan int, 1)
	go func() {
		_ = server.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, _ := server.Write([]byte("S and what would be smuggled in before TLS"))
		written <- n
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := <-written; n != 1 {
		t.Errorf("%d bytes were read before TLS", n)
	}
}

func TestTheFloorIsTLS13UnlessToldOtherwise(t *testing.T) {
	domain := newDomain(t, "hippo server ca g1")
	address := listen(t, postgresOf(&tls.Config{Certificates: []tls.Certificate{domain.server("db.example")}, MaxVersion: tls.VersionTLS12}, nil))
	target := Target{Address: address, Protocol: Postgres, ServerName: "db.example", Anchors: domain.anchors(), At: start}
	if _, err := Dial(within(t, 10*time.Second), target); ReasonOf(err) != HandshakeFailed {
		t.Errorf("with the floor of 1.3: %v", err)
	}
	target.MinVersion = tls.VersionTLS12
	if served, err := Dial(within(t, 10*time.Second), target); err != nil || served.Version != "TLS 1.2" {
		t.Errorf("with the floor of 1.2: %q, %v", served.Version, err)
	}
}

func TestTheServerNameIsSent(t *testing.T) {
	domain := newDomain(t, "hippo server ca g1")
	asked := make(chan string, 1)
	certificate := domain.server("db.example")
	address := listen(t, postgresOf(&tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked <- hello.ServerName
		return &certificate, nil
	}}, nil))
	if _, err := Dial(within(t, 10*time.Second), Target{Address: address, Protocol: PGBouncer, ServerName: "db.example", Anchors: domain.anchors(), At: start}); err != nil {
		t.Fatal(err)
	}
	if got := <-asked; got != "db.example" {
		t.Errorf("SNI is %q", got)
	}
}

// Without anchors a probe only looks: the agent's own handshake, where what is served is compared byte by byte.
func TestWithoutAnchorsNothingIsJudged(t *testing.T) {
	address := listen(t, postgresOf(&tls.Config{Certificates: []tls.Certificate{newDomain(t, "any").server("x.example")}}, nil))
	if served, err := Dial(within(t, 10*time.Second), Target{Address: address, Protocol: Postgres}); err != nil || served.Leaf.Serial == "" {
		t.Errorf("served %+v, %v", served, err)
	}
}

func TestAContextThatHasEndedIsTimedOut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target := Target{Address: listen(t, says("S")), Protocol: Postgres}
	if _, err := Dial(ctx, target); ReasonOf(err) != TimedOut {
		t.Errorf("Dial: %v", err)
	}
	if err := PlaintextRefused(ctx, target); ReasonOf(err) != TimedOut {
		t.Errorf("PlaintextRefused: %v", err)
	}
}
