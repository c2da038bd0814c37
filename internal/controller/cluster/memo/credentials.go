package memo

import (
	"crypto/sha256"
	"io"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/desired"
)

// Credentials remembers, by a digest, the credentials of users that were found usable: to see that a verifier belongs to a password takes
// the 4,096 rounds of a log-in, and each reconciliation looks.
type Credentials struct {
	mu    sync.Mutex
	known map[userOf][sha256.Size]byte
}

type userOf struct {
	cluster types.NamespacedName
	user    string
}

// NewCredentials remembers nothing.
func NewCredentials() *Credentials {
	return &Credentials{known: map[userOf][sha256.Size]byte{}}
}

// Keep is desired.KeepCredentials.
func (c *Credentials) Keep(cluster types.NamespacedName, user string, data map[string][]byte, random io.Reader) (desired.Credentials, error) {
	stored := desired.Credentials{Password: string(data["password"]), Verifier: string(data["verifier"])}
	if c.isKnown(cluster, user, stored) {
		return stored, nil
	}
	kept, err := desired.KeepCredentials(data, random)
	if err == nil {
		c.note(cluster, user, kept)
	}
	return kept, err
}

// Forget forgets a cluster.
func (c *Credentials) Forget(cluster types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(of userOf, _ [sha256.Size]byte) bool { return of.cluster == cluster })
}

func (c *Credentials) isKnown(cluster types.NamespacedName, user string, stored desired.Credentials) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	digest, known := c.known[userOf{cluster, user}]
	return known && digest == digestOf(stored)
}

func (c *Credentials) note(cluster types.NamespacedName, user string, kept desired.Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[userOf{cluster, user}] = digestOf(kept)
}

// digestOf separates the two by a byte that neither holds.
func digestOf(c desired.Credentials) [sha256.Size]byte {
	return sha256.Sum256([]byte(c.Password + "\x00" + c.Verifier))
}
