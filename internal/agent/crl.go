package agent

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

// settingsFile turns the check of client certificates against revocation lists on. PostgreSQL has no setting for "where there
// is one": an unset ssl_crl_file is off, and a set one must be there. So what is set comes from a file that PostgreSQL includes
// if it exists, and that stands in the revision's own directory: the link "current" switches both together, there is no instant
// at which the setting names lists that are gone, and an undo undoes both.
//
// The leading dot keeps it out of what is hashed: it says nothing that the material does not say.
var settingsFile = filepath.Base(agentapi.RevocationSettings)

func revokes(files map[string][]byte) bool {
	_, there := files[agentapi.RevocationLists]
	return there
}

// revocationLists reads them, if the material has any.
func revocationLists(files map[string][]byte) ([]*x509.RevocationList, error) {
	if !revokes(files) {
		return nil, nil
	}
	lists, err := pki.ParseRevocationLists(files[agentapi.RevocationLists])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", agentapi.RevocationLists, err)
	}
	return lists, nil
}

// listNumbers tells the operator which lists are loaded; nil: none.
func listNumbers(m *Material) map[string]int64 {
	if len(m.RevocationLists) == 0 {
		return nil
	}
	return pki.RevocationListNumbers(m.RevocationLists)
}

// verifyRevocationLists tells whether there is one for each authority whose certificates PostgreSQL accepts: without its own, all clients that come by
// an anchor are refused, the standbys and the operator among them.
func (m *Material) verifyRevocationLists(at time.Time) error {
	if len(m.RevocationLists) == 0 {
		return nil
	}
	if err := pki.CheckRevocationLists(m.RevocationLists, m.ClientAnchors, at); err != nil {
		return fmt.Errorf("%s: %w", agentapi.RevocationLists, err)
	}
	return nil
}

// withSettings are the files of a revision as they are installed.
func (s *store) withSettings(m *Material) map[string][]byte {
	files := maps.Clone(m.Files)
	files[settingsFile] = s.settings(m)
	return files
}

// settings are there for a revision without lists too: PostgreSQL logs each include that it misses.
func (s *store) settings(m *Material) []byte {
	if len(m.RevocationLists) == 0 {
		return []byte("# no certificate is revoked\n")
	}
	return fmt.Appendf(nil, "ssl_crl_file = '%s'\n", filepath.Join(s.dir, currentLink, agentapi.RevocationLists))
}

// hasSettings reports whether an installed revision tells PostgreSQL what it should.
func (s *store) hasSettings(m *Material) bool {
	text, err := os.ReadFile(filepath.Join(s.dir, m.Revision, settingsFile))
	return err == nil && bytes.Equal(text, s.settings(m))
}
