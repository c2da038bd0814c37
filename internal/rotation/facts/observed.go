package facts

import "time"

// Observed holds the facts that a plan is made from.
type Observed struct {
	// Now is the time of the observation.
	Now time.Time
	// Authorities that are stored, in any order.
	Authorities []Authority
	// GenerationSeen is the highest generation per domain that any material or
	// bundle names. A generation that was seen and is not stored is lost.
	GenerationSeen map[Domain]int
	// External are the external trust anchors that are wanted or noted as trusted, sorted by domain and fingerprint.
	External []Anchor
	// PublicTrust is the ConfigMap that clients read the server bundle from.
	PublicTrust Trust
	// Parties that are wanted, sorted by name.
	Parties []Party
	// Leftovers are the leaves of material that no party wants and that some pod may still use.
	Leftovers []Leftover
	// Unwanted names material that no party wants and no pod can use any more, sorted.
	Unwanted []string
	// UnwantedApplications names the Secrets of applications that are to have none any more, sorted.
	UnwantedApplications []string
	// Ledger is what was issued to applications.
	Ledger Ledger
	// Unowned are the objects of the cluster without a controller, or with that of an earlier cluster of the same name: their
	// content was checked, and they are to be taken back.
	Unowned []Object
	// Failures are the steps that failed when they were last tried.
	Failures []Failure
}

// Object names an object of the API server in the cluster's namespace.
type Object struct{ Kind, Name string }

func (o Object) String() string { return o.Kind + " " + o.Name }

// Failure is a step that failed when it was last tried. The executor remembers it until the step succeeds or is planned no more.
type Failure struct {
	// Step is the key of the step, see plan.Step.
	Step string
	// Object is the object that could not be written or the pod that could not be reached, such as "Secret hippo-server-ca-g2".
	Object string
	// Cause is a typed code of the failure, such as QuotaExceeded.
	Cause string
	// Message says in a stable line what failed and the remedy.
	Message string
	// RetryAt is when the step may be tried again.
	RetryAt time.Time
}

// Failure returns what is known of the last failure of a step, nil when it has not failed.
func (o *Observed) Failure(step string) *Failure {
	for i := range o.Failures {
		if o.Failures[i].Step == step {
			return &o.Failures[i]
		}
	}
	return nil
}

// Leftover is a leaf that a pod on its way out may use.
type Leftover struct {
	Party       string
	Domain      Domain
	IssuerKeyID string
}

// Trust is a published bundle.
type Trust struct {
	State   MaterialState
	Anchors []string // fingerprints
	// ChangedAt is when it was last written; zero: that is not known, and long ago. From then on clients that follow it have time.
	ChangedAt time.Time
}

// Bundles are the fingerprints of the anchors in each domain's bundle; nil: unknown, which is not the same as none.
type Bundles struct{ Server, Client []string }

// Of returns those of one domain.
func (b *Bundles) Of(domain Domain) []string {
	if domain == Server {
		return b.Server
	}
	return b.Client
}

// Set replaces those of one domain.
func (b *Bundles) Set(domain Domain, fingerprints []string) {
	if domain == Server {
		b.Server = fingerprints
	} else {
		b.Client = fingerprints
	}
}

// Anchor is an external trust anchor: the issuer of a custom certificate, or an authority that the user wants trusted
// besides.
type Anchor struct {
	Domain      Domain
	Fingerprint string
	Subject     string
	NotAfter    time.Time
	// Wanted: a Secret or ConfigMap that the spec names holds it.
	Wanted bool
	// Held: it may be wanted, for a Secret or ConfigMap that the spec names cannot be read or is rejected. It is not dropped.
	Held bool
	// Admitted: it is noted as trusted, and every bundle of its domain is to hold it.
	Admitted bool
	// AdmittedAt is when that was noted.
	AdmittedAt time.Time
	// UnusedSince is when it was noted that nothing wants or presents it any more; zero: that was not noted.
	UnusedSince time.Time
}

// Party returns the party of a name, or nil.
func (o *Observed) Party(name string) *Party {
	for i := range o.Parties {
		if o.Parties[i].Name == name {
			return &o.Parties[i]
		}
	}
	return nil
}

// Authority returns a generation of a domain, or nil.
func (o *Observed) Authority(domain Domain, generation int) *Authority {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == domain && a.Generation == generation {
			return a
		}
	}
	return nil
}
