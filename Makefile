# Two commands matter on a fresh Debian 12 machine: "make demo" and "make test".
# "make" or "make help" lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

GO ?= go
TOOL := $(GO) tool -modfile=tools/go.mod
LINT := $(GO) tool -modfile=tools/lint/go.mod golangci-lint
# The flags of the shipped programs for what runs beside them too, so that nothing is compiled twice.
RUN = CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -trimpath' $(GO) run
# The throwaway Kubernetes: a program of a module of its own. hack/devcluster/README.md has its contract.
DEVCLUSTER := bin/devcluster
MODULES := . tools tools/lint hack/devcluster hack/devcluster/kubernetes hack/devcluster/coredns hack/certmanager/controller
PROGRAMS := bin/operator bin/agent bin/loadgen

# The race detector needs a C compiler, which a machine with only Go, git and make has not.
HAS_CC := $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo yes)
RACE := $(if $(HAS_CC),-race)

# Tests that walk through every moment of a process, or through many rounds or histories. Their goroutines are those of shorter tests
# of the same package, and the race detector makes them take five times as long: with it they are left out, and run without it.
WALKS := ^TestWalk
WALKED := ./internal/controller/cluster ./internal/controller/tls ./internal/rotation

FUZZTIME ?= 30s
BENCHTIME ?= 1s
FLEET ?= 10,100,1000
BENCHCOUNT ?= 6
BENCHPACKAGES ?= ./internal/pki ./internal/rotation

export GOFLAGS ?= -buildvcs=false

##@ Use

.PHONY: demo
demo: ## Everything on a real Kubernetes: renew every certificate under load, print what clients saw (KUBE_CONTEXT=... for your own cluster)
	$(RUN) ./hack/demo

.PHONY: up
up: $(DEVCLUSTER) ## Start the throwaway Kubernetes (root)
	$(DEVCLUSTER) up

.PHONY: down
down: $(DEVCLUSTER) ## End the throwaway Kubernetes and remove all but the caches
	$(DEVCLUSTER) down

.PHONY: clean-cache
clean-cache: $(DEVCLUSTER) ## Drop the cached Kubernetes binaries and images
	$(DEVCLUSTER) clean-cache
	rm -rf -- "$${XDG_CACHE_HOME:-$$HOME/.cache}/pgtls"

##@ Build

.PHONY: build
build: $(PROGRAMS) ## Static programs into bin/

# Go knows what is up to date, make does not.
.PHONY: $(PROGRAMS)
bin/operator: package := ./cmd/operator
bin/agent: package := ./cmd/agent
bin/loadgen: package := ./test/loadgen
$(PROGRAMS):
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $@ $(package)

.PHONY: $(DEVCLUSTER)
$(DEVCLUSTER):
	CGO_ENABLED=0 $(GO) build -C hack/devcluster -trimpath -o $(CURDIR)/$@ .

.PHONY: generate
generate: ## CRD and deep copies from api/
	$(TOOL) controller-gen object crd:maxDescLen=0 paths=./api/... output:crd:dir=config/crd

.PHONY: tidy
tidy: ## go mod tidy in every module
	for module in $(MODULES); do (cd $$module && $(GO) mod tidy); done

.PHONY: vet
vet: ## go vet, with the tags of every test
	$(GO) vet ./...
	$(GO) vet -tags=profile ./cmd/operator
	$(GO) vet -C hack/devcluster ./...
	$(GO) vet -tags=envtest ./test/envtest ./test/pages
	$(GO) vet -tags=e2e ./test/e2e/...

.PHONY: lint
lint: ## golangci-lint; the first run builds it, which takes minutes
	$(LINT) run
	cd hack/devcluster && $(GO) tool -modfile=../../tools/lint/go.mod golangci-lint run --config ../../.golangci.yml

.PHONY: verify
verify: generate tidy vet lint ## What a change must pass before review: generated, tidy, vetted, formatted, linted, nothing left uncommitted
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	@if [ -n "$$(git status --porcelain)" ]; then echo "the tree is dirty; commit what make changed:"; git status --short; exit 1; fi

##@ Test

.PHONY: test
test: ## All tests, each thing once, the throwaway cluster included (root; STORY=<name> for one story, KEEP=1 keeps the cluster)
	hack/run-tests unit envtest e2e

.PHONY: test-unit
test-unit: ## Unit and property tests: no root, no cluster; skips what lacks a program
	$(if $(RACE),,@echo "no C compiler: testing without the race detector")
	$(if $(RACE),,CGO_ENABLED=0 )$(GO) test $(RACE) $(if $(RACE),-skip='$(WALKS)') -shuffle=on -timeout=20m ./...
	$(if $(RACE),$(GO) test -vet=off -run='$(WALKS)' -shuffle=on -timeout=20m $(WALKED))
	$(if $(RACE),,CGO_ENABLED=0 )$(GO) test -C hack/devcluster $(RACE) -shuffle=on ./...

.PHONY: test-unit-real
test-unit-real: ## The same with the programs that it installs (root): a test that is skipped fails; ends with "unit: tests=..."
	$(if $(RACE),,CGO_ENABLED=0 )$(GO) run ./hack/unit -modules=.,hack/devcluster $(if $(RACE),-race -unraced='$(WALKS)' -unraced-in='$(WALKED)') -- -shuffle=on -timeout=20m

.PHONY: test-envtest
test-envtest: ## CRD and CEL rules, cert-manager, and the commands in docs/issuers, against the real API server
	hack/run-tests envtest

.PHONY: e2e
e2e: ## End-to-end stories on the throwaway cluster (root; STORY=<name> for one, KEEP=1 keeps the cluster)
	hack/run-tests e2e

.PHONY: soak
soak: ## The whole set: stories at full length, one at a time, then explore, corpus and fuzz (root; about an hour and a half)
	PGTLS_SOAK=1 hack/run-tests unit envtest e2e explore corpus fuzz

.PHONY: explore
explore: ## Every state of a re-key in the model, then without each guard; ends with "explore: states=..." (minutes, 1.5 GB)
	@mkdir -p _artifacts/explore
	@status=0; \
	$(GO) test ./internal/rotation -run='^TestE(xplore|veryGuard)' -explore.full -count=1 -timeout=30m -v >_artifacts/explore/explore.txt 2>&1 || status=$$?; \
	grep -Ev '^(=== |explore: )' _artifacts/explore/explore.txt; \
	grep '^explore: ' _artifacts/explore/explore.txt || status=1; \
	exit $$status

.PHONY: corpus
corpus: ## Right and wrong user certificates through the real PostgreSQL, PgBouncer and libpq; ends with "corpus: wrong=..." (root, a minute or two)
	@mkdir -p _artifacts/corpus
	@$(RUN) ./hack/images build --only=postgres-17,pgbouncer
	@$(RUN) ./hack/images list --only=postgres-17,pgbouncer | $(RUN) ./hack/corpus -details=_artifacts/corpus/cases.txt

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZTIME (30s)
	hack/fuzz $(FUZZTIME)

.PHONY: bench
bench: bin/agent ## Benchmarks for benchstat, and sizes, into _artifacts/bench
	@mkdir -p _artifacts/bench
	$(GO) test -run='^$$' -bench=. -benchmem -benchtime=$(BENCHTIME) -count=$(BENCHCOUNT) $(BENCHPACKAGES) | tee _artifacts/bench/go.txt
	@echo "BenchmarkAgentBinary 1 $$(stat --format=%s bin/agent) bytes" | tee _artifacts/bench/size.txt
	$(TOOL) benchstat _artifacts/bench/go.txt | tee _artifacts/bench/benchstat.txt

.PHONY: bench-memory
bench-memory: bin/operator $(DEVCLUSTER) ## By how much the operator grows with 5,000 Secrets that no cluster names; fails above 10 MB (3 minutes)
	assets=$$($(DEVCLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets $(RUN) ./hack/memory

.PHONY: bench-fleet
bench-fleet: bin/operator $(DEVCLUSTER) ## What 10, 100 and 1,000 clusters in one namespace cost the operator, beside an API server without pods (FLEET=10,100 for fewer; PROFILE=folder for profiles)
	@mkdir -p _artifacts/bench
	$(if $(PROFILE),CGO_ENABLED=0 $(GO) build -tags=profile -trimpath -o bin/operator-profile ./cmd/operator)
	assets=$$($(DEVCLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets $(RUN) ./hack/fleet -clusters=$(FLEET) -profile='$(PROFILE)' | tee _artifacts/bench/fleet.txt

##@ Help

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z][a-z0-9-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
