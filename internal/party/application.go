package party

// Application is a program outside of the cluster's pods that logs in with a client certificate. It verifies servers alone. Its
// Secret has the keys that Kubernetes (kubernetes.io/tls) and cert-manager use, so that other programs find them.
var Application = &Kind{
	Name:     "application",
	Members:  EachUser,
	Leaves:   []Leaf{{Domain: Client, Policy: UserCertificate}},
	Files:    Files{client: Pair{"tls.crt", "tls.key"}, serverBundle: "ca.crt"},
	Stage:    StageAlone,
	InLedger: true,
}
