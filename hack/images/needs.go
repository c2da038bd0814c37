package main

import (
	"context"
	"io"
	"strings"

	"pgtls.dev/pgtls/hack/apt"
)

// needs of a build.
var needs = []apt.Need{
	{File: "buildah", Package: "buildah"},
	{File: "mmdebstrap", Package: "mmdebstrap"},
	// buildah wants a runtime even though every RUN is isolated by chroot only.
	{File: "runc", Package: "runc"},
	// The first Debian 12 images shipped a keyring without the next release's keys.
	{File: archiveKeyring, Package: "debian-archive-keyring"},
	{File: "/usr/share/keyrings/debian-archive-trixie-stable.gpg", Package: "debian-archive-keyring"},
}

// ensurePackages installs what is missing; the output of apt-get goes to log.
func ensurePackages(ctx context.Context, p *progress, log io.Writer) error {
	missing := apt.Missing(needs)
	if len(missing) > 0 {
		p.say("packages", "installing %s", strings.Join(missing, " "))
	}
	return apt.Install(ctx, log, missing)
}
