package postgres

import (
	"context"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Session is a connection as the server sees it. What it does not have is empty.
type Session struct {
	PID         int
	Started     time.Time // of the backend, microseconds
	User        string
	Database    string // "" for physical replication
	Application string
	Address     string // of the client; "" over a Unix socket

	TLSVersion   string // TLSv1.3; "" without TLS
	Cipher       string
	ClientDN     string // of the client's certificate
	ClientSerial string // lower-case hexadecimal
	IssuerDN     string // shows which generation of the authority issued it
}

// Standby is a session that replicates.
type Standby struct {
	Session
	State     string // streaming, catchup, startup, backup
	SyncState string // async, sync, quorum, potential
	LagBytes  int64  // that it has not replayed yet; -1 when not known
}

const sessionColumns = `a.pid, extract(epoch FROM a.backend_start), a.usename, coalesce(a.datname, ''), a.application_name, coalesce(host(a.client_addr), ''),
	coalesce(s.version, ''), coalesce(s.cipher, ''), coalesce(s.client_dn, ''), coalesce(s.client_serial::text, ''), coalesce(s.issuer_dn, '')`

// Sessions returns the connections of clients, replication included, by PID. It wants a superuser or pg_read_all_stats.
func Sessions(ctx context.Context, conn *Conn) ([]Session, error) {
	rows, err := conn.Query(ctx, `SELECT `+sessionColumns+`
		FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_stat_ssl s USING (pid)
		WHERE a.backend_type IN ('client backend', 'walsender') ORDER BY a.pid`)
	if err != nil {
		return nil, fmt.Errorf("reading sessions: %w", err)
	}
	sessions := make([]Session, len(rows))
	for i, row := range rows {
		if sessions[i], err = parseSession(row); err != nil {
			return nil, fmt.Errorf("reading sessions: %w", err)
		}
	}
	return sessions, nil
}

// Replication returns the standbys that are connected, by PID. It wants a superuser or pg_monitor, and must ask the primary
// or a standby that others follow.
func Replication(ctx context.Context, conn *Conn) ([]Standby, error) {
	rows, err := conn.Query(ctx, `SELECT `+sessionColumns+`, coalesce(r.state, ''), coalesce(r.sync_state, ''),
		coalesce(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, r.replay_lsn), -1)
		FROM pg_catalog.pg_stat_replication r JOIN pg_catalog.pg_stat_activity a USING (pid) LEFT JOIN pg_catalog.pg_stat_ssl s USING (pid)
		ORDER BY a.pid`)
	if err != nil {
		return nil, fmt.Errorf("reading replication: %w", err)
	}
	standbys := make([]Standby, len(rows))
	for i, row := range rows {
		session, err := parseSession(row)
		if err != nil {
			return nil, fmt.Errorf("reading replication: %w", err)
		}
		lag, err := strconv.ParseInt(row[13], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading replication: lag %q: %w", row[13], err)
		}
		standbys[i] = Standby{Session: session, State: row[11], SyncState: row[12], LagBytes: lag}
	}
	return standbys, nil
}

func parseSession(row []string) (Session, error) {
	pid, err := strconv.Atoi(row[0])
	if err != nil {
		return Session{}, fmt.Errorf("pid %q: %w", row[0], err)
	}
	seconds, err := strconv.ParseFloat(row[1], 64)
	if err != nil {
		return Session{}, fmt.Errorf("start %q: %w", row[1], err)
	}
	return Session{
		PID: pid, Started: time.UnixMicro(int64(seconds * 1e6)).UTC(),
		User: row[2], Database: row[3], Application: row[4], Address: row[5],
		TLSVersion: row[6], Cipher: row[7], ClientDN: row[8], ClientSerial: hexadecimal(row[9]), IssuerDN: row[10],
	}, nil
}

// hexadecimal turns the decimal number of pg_stat_ssl into what certificates are called everywhere else.
func hexadecimal(decimal string) string {
	serial, ok := new(big.Int).SetString(decimal, 10)
	if !ok {
		return ""
	}
	return serial.Text(16)
}

// EndSessions ends the connections of clients that came in with certificates of these serial numbers, and tells how many. It
// wants a superuser.
func EndSessions(ctx context.Context, conn *Conn, serials []string) (int, error) {
	decimals := make([]string, 0, len(serials))
	for _, serial := range serials {
		number, ok := new(big.Int).SetString(serial, 16)
		if !ok {
			return 0, fmt.Errorf("ending sessions: serial number %q is not hexadecimal", serial)
		}
		decimals = append(decimals, number.String())
	}
	rows, err := conn.Query(ctx, `SELECT count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid))
		FROM pg_catalog.pg_stat_ssl WHERE client_serial::text = ANY (pg_catalog.string_to_array($1, ','))`, strings.Join(decimals, ","))
	if err != nil {
		return 0, fmt.Errorf("ending sessions: %w", err)
	}
	ended, err := strconv.Atoi(rows[0][0])
	if err != nil {
		return 0, fmt.Errorf("ending sessions: count %q: %w", rows[0][0], err)
	}
	return ended, nil
}
