package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed config
var configFiles embed.FS

// settings are the values that the templates under config/ name.
type settings struct {
	ClusterDomain string
	ServiceCIDR   string
	PodsCIDR      string
	DNSAddress    string
	Bridge        string
	PauseImage    string

	Node       string
	NodeIP     string
	PodCIDR    string
	CgroupRoot string

	StateDir         string
	NodeDir          string
	PKIDir           string
	KubeconfigDir    string
	ContainerdSocket string
}

func settingsFor(l layout, n node) settings {
	return settings{
		ClusterDomain:    clusterDomain,
		ServiceCIDR:      serviceCIDR,
		PodsCIDR:         podsCIDR,
		DNSAddress:       controlPlane.address(),
		Bridge:           bridgeName,
		PauseImage:       pauseImage,
		Node:             n.name(),
		NodeIP:           n.address(),
		PodCIDR:          n.podCIDR(),
		CgroupRoot:       n.cgroup(),
		StateDir:         l.state,
		NodeDir:          l.node(n),
		PKIDir:           l.path("pki"),
		KubeconfigDir:    l.path("kubeconfig"),
		ContainerdSocket: l.containerdSocket(n),
	}
}

// render fills the template config/<name> with s.
func render(name string, s settings) ([]byte, error) {
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(configFiles, "config/"+name)
	if err != nil {
		return nil, fmt.Errorf("reading template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, s); err != nil {
		return nil, fmt.Errorf("filling template %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// renderTo writes the filled template config/<name> to path.
func renderTo(path, name string, s settings) error {
	content, err := render(name, s)
	if err != nil {
		return err
	}
	return writeFile(path, content, 0o644)
}

// writeFile writes path and the directories that lead to it.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}
