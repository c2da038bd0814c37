package party

import "pgtls.dev/pgtls/internal/agentapi"

// Files are the keys of a party's Secret.
type Files struct {
	server, client             Pair // the leaves of its own
	served, presented          Pair // what its process serves and presents: a custom certificate, or the leaf again
	serverBundle, clientBundle string
}

// Pair are the keys that hold a certificate with its chain, and its private key.
type Pair struct{ Certificate, Key string }

// Leaf are the keys of a domain's leaf.
func (f *Files) Leaf(domain Domain) Pair {
	if domain == Client {
		return f.client
	}
	return f.server
}

// Process are the keys of what the process beside the agent serves (server) and presents (client); empty where a party has none.
func (f *Files) Process(domain Domain) Pair {
	if domain == Client {
		return f.presented
	}
	return f.served
}

// Bundle is the key of a domain's bundle; empty: the party verifies nothing of this domain.
func (f *Files) Bundle(domain Domain) string {
	if domain == Client {
		return f.clientBundle
	}
	return f.serverBundle
}

// own are the files of a party that serves nothing.
var own = Files{
	server:       Pair{agentapi.ServerCertificate, agentapi.ServerKey},
	client:       Pair{agentapi.ClientCertificate, agentapi.ClientKey},
	serverBundle: agentapi.ServerBundle, clientBundle: agentapi.ClientBundle,
}

// Mounted are the files of a party with pods, whose agent installs them.
var Mounted = func() Files {
	f := own
	f.served = Pair{agentapi.ServedCertificate, agentapi.ServedKey}
	f.presented = Pair{agentapi.PresentedCertificate, agentapi.PresentedKey}
	return f
}()
