package cluster

import "pgtls.dev/pgtls/internal/controller/cluster/clustertest"

var (
	hippo      = clustertest.Hippo
	withPooler = clustertest.WithPooler
	settings   = clustertest.Settings
	pod        = clustertest.Pod
	ready      = clustertest.Ready
	inRole     = clustertest.InRole
	metadata   = clustertest.Metadata
	dynamic    = clustertest.Dynamic
)
