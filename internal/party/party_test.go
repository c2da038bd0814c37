package party

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pgtls.dev/pgtls/internal/pki"
)

// What the rest of pgtls asks of a kind has an answer for each.
func TestKindsAreComplete(t *testing.T) {
	names, components := map[string]bool{}, map[string]bool{}
	for _, k := range Kinds() {
		if k.Name == "" || names[k.Name] || Named(k.Name) != k || k.String() != k.Name {
			t.Errorf("%q is no name of its own", k.Name)
		}
		names[k.Name] = true
		if k.Members == "" || len(k.Leaves) == 0 {
			t.Errorf("%s: no members, or no leaf", k)
		}
		if !k.Verifies(Server) {
			t.Errorf("%s verifies no server, and everything of pgtls connects with one", k)
		}
		for _, leaf := range k.Leaves {
			keys := k.Files.Leaf(leaf.Domain)
			if leaf.Policy == "" || keys.Certificate == "" || keys.Key == "" || k.Leaf(leaf.Domain).Policy != leaf.Policy {
				t.Errorf("%s: the %s leaf lacks a policy or its files", k, leaf.Domain)
			}
			if named := leaf.Names.Pod || len(leaf.Names.Services) > 0; named != (leaf.Domain == Server) {
				t.Errorf("%s: a server leaf has names, a client leaf an identity: %+v", k, leaf)
			}
		}
		if hasPods := k.Process != nil; hasPods != (k.Stage != StageAlone) {
			t.Errorf("%s: a kind with pods has a stage of its own, and no other", k)
		}
		if k.AuthenticatesClients && !k.Verifies(Client) {
			t.Errorf("%s lets clients in and verifies none", k)
		}
		if k.Process != nil {
			checkProcess(t, k, components)
		}
	}
}

func checkProcess(t *testing.T, k *Kind, components map[string]bool) {
	t.Helper()
	p := k.Process
	if p.Program == "" || p.Container == "" || p.Log == "" || p.Component == "" || components[p.Component] || OfComponent(p.Component) != k {
		t.Errorf("%s: the process is incomplete, or its pods are another kind's: %+v", k, p)
	}
	components[p.Component] = true
	if k.Leaf(Server) == nil || k.Files.Process(Server).Certificate == "" || k.Files.Process(Client).Key == "" {
		t.Errorf("%s: its process has nothing to serve", k)
	}
	served := slices.ContainsFunc(p.Ports, func(port Port) bool { return port.OfProcess })
	if !served {
		t.Errorf("%s: no port of the process is proven", k)
	}
	for _, port := range append([]Port{AgentPort()}, p.Ports...) {
		if port.Name == "" || port.Protocol == "" {
			t.Errorf("%s: a port without name or protocol: %+v", k, port)
		}
	}
}

// A kind that stands in no file of its own name is not found from its name.
func TestEachKindIsAFile(t *testing.T) {
	for _, k := range Kinds() {
		text, err := os.ReadFile(k.Name + ".go")
		if err != nil || !strings.Contains(string(text), "= &Kind{") || !strings.Contains(string(text), "\""+k.Name+"\"") {
			t.Errorf("%s.go does not say what %s is: %v", k.Name, k, err)
		}
	}
}

func TestUnknownNamesAreNoKind(t *testing.T) {
	if Named("exporter-of-tomorrow") != nil || Named("") != nil || OfComponent("") != nil || OfComponent("tls") != nil {
		t.Error("a kind was made up")
	}
}

func TestUsagesOfDomains(t *testing.T) {
	if Server.Usage() != pki.ServerAuth || Client.Usage() != pki.ClientAuth || len(Domains()) != 2 {
		t.Error("a domain has another usage")
	}
}
