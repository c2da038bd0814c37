package harness

import "os"

// SoakVariable tells stories to run at full length, as "make soak" does.
const SoakVariable = "PGTLS_SOAK"

// Soak reports whether this run is the whole set and not "make test".
func Soak() bool { return os.Getenv(SoakVariable) != "" }
