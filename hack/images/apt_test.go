package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCodename(t *testing.T) {
	tests := map[string]struct{ osRelease, want string }{
		"Debian":       {"ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"},
		"quoted":       {"VERSION_CODENAME=\"trixie\"\nID=\"debian\"\n", "trixie"},
		"another one":  {"ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", ""},
		"testing, sid": {"ID=debian\n", ""},
		"empty":        {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := codename(tt.osRelease); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseTargets(t *testing.T) {
	local := mirrors{Main: "http://mirror.test/debian", Security: "http://mirror.test/security"}
	tests := map[string]struct {
		targets, codename string
		want              mirrors
	}{
		"both mirrors": {
			"http://mirror.test/debian/ bookworm main\nhttp://mirror.test/debian/ bookworm-updates main\nhttp://mirror.test/security/ bookworm-security main\n",
			"bookworm", local},
		"foreign repositories, other components": {
			"https://apt.vendor.test/ nodistro main\nhttp://extra.test/debian bookworm contrib\n" +
				"http://mirror.test/debian bookworm main\nhttp://mirror.test/security bookworm-security main\n",
			"bookworm", local},
		"no security mirror": {
			"http://mirror.test/debian bookworm main\n", "bookworm",
			mirrors{Main: local.Main}},
		"not Debian": {"http://mirror.test/ubuntu noble main\n", "", mirrors{}},
		"no sources": {"", "bookworm", mirrors{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parseTargets(tt.targets, tt.codename)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseAcquire(t *testing.T) {
	tests := map[string]struct {
		dump    string
		options []string
		proxy   string
	}{
		"nothing set":     {"Acquire \"\";\nAcquire::cdrom \"\";\n", nil, ""},
		"frozen snapshot": {"Acquire::Check-Valid-Until \"false\";\nAcquire::Check-Date \"0\";\n", []string{"check-valid-until=no", "check-date=no"}, ""},
		"checks stay on":  {"Acquire::Check-Valid-Until \"true\";\nAcquire::Check-Date \"yes\";\n", nil, ""},
		"proxy":           {"Acquire::http::Proxy \"http://proxy.test:3128\";\n", nil, "http://proxy.test:3128"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			options, proxy := parseAcquire(tt.dump)
			if diff := cmp.Diff(tt.options, options); diff != "" {
				t.Error(diff)
			}
			if proxy != tt.proxy {
				t.Errorf("got proxy %q, want %q", proxy, tt.proxy)
			}
		})
	}
}

func TestSourceLines(t *testing.T) {
	m := mirrors{Main: "http://mirror.test/debian", Security: "http://mirror.test/security"}
	plain := "deb http://mirror.test/debian trixie main\n" +
		"deb http://mirror.test/debian trixie-updates main\n" +
		"deb http://mirror.test/security trixie-security main\n"
	if diff := cmp.Diff(plain, sourceLines("trixie", m, nil)); diff != "" {
		t.Error(diff)
	}
	if got := sourceLines("trixie", mirrors{Main: m.Main}, nil); strings.Contains(got, "security") {
		t.Errorf("without a mirror of security updates there is a line for them:\n%s", got)
	}
	frozen := "deb [check-valid-until=no check-date=no] http://mirror.test/debian trixie main\n" +
		"deb [check-valid-until=no check-date=no] http://mirror.test/debian trixie-updates main\n" +
		"deb [check-valid-until=no check-date=no] http://mirror.test/security trixie-security main\n"
	if diff := cmp.Diff(frozen, sourceLines("trixie", m, []string{"check-valid-until=no", "check-date=no"})); diff != "" {
		t.Error(diff)
	}
}
