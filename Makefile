# Bare `make` prints the targets. Building needs Go; the lab needs root and a Debian host.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GO ?= go
LAB ?= gemel
LINT_VERSION := v2.12.2
LINT := bin/tools/golangci-lint
VULN_VERSION := v1.1.4
VULN := bin/tools/govulncheck
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)

.PHONY: help build prepare image lab lab-down lab-status test unit enumeration scenarios lint vuln soak bench test-vm compose-up compose-down install deb clean

help: ## print this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## /\1\t/' | expand -t 14

build: ## build bin/gemel (static) and bin/lab
	CGO_ENABLED=0 $(GO) build -ldflags "-X main.version=$(VERSION)" -o bin/gemel ./node
	CGO_ENABLED=0 $(GO) build -o bin/lab ./lab

prepare: ## install what the lab needs and start a container engine (root)
	@lab/prepare.sh

image: prepare
	@images/build.sh

lab: image build ## two servers, a witness and a client on this machine, then the tour; MODEL=2004: the article's disks; ARBITER=etcd (root)
	@$(if $(filter etcd,$(ARBITER)),lab/testtools.sh etcd)
	@bin/lab up --lab $(LAB) $(if $(MODEL),--model $(MODEL)) $(if $(ARBITER),--arbiter $(ARBITER)) --tour

lab-down: ## remove the lab with all it made, and the engine if the lab started it (root)
	@if [ -x bin/lab ] && lab/engine.sh status >/dev/null 2>&1; then bin/lab down --lab $(LAB); fi
	@lab/engine.sh stop

lab-status: ## show boxes, cables and disks (root)
	@bin/lab status --lab $(LAB)

test: lint unit enumeration sim scenarios ## lint, unit tests (race), the safety core's enumeration, the simulated pair, scenarios on the lab (root)

unit: ## unit tests with the race detector
	@lab/testtools.sh
	PATH="$(CURDIR)/bin/tools:$$PATH:/usr/sbin:/sbin" $(GO) test -race $$($(GO) list ./... | grep -v '/scenarios')

# Without the race detector, which would leave time for a third of the bounds only.
enumeration: ## the explicit-state check of the safety core, with its mutants
	$(GO) test -count=1 ./node/failover/reign/check

SEEDS ?= 200
FIRST ?= 1
sim: ## the whole pair simulated from seeds: make sim SEEDS=2000 [FIRST=1]
	@$(GO) run ./lab/sim/simulate -first $(FIRST) -seeds $(SEEDS)

sim-mutants: ## patched copies of the product; the simulation must find each of them
	@$(GO) run ./lab/sim/simulate -mutants -seeds $(or $(filter-out 200,$(SEEDS)),2000)

# make repro-025 plays the test of docs/museum.md's no. 25, then once more with the mistake
# in it; BUGGY=1 does only the latter. The tree itself is not touched.
repro-%: ## a bug of docs/museum.md: its test passes now, and fails with the mistake back; make repro-all, repro-list
	@PATH="$(CURDIR)/bin/tools:$$PATH" $(GO) run ./lab/museum $(if $(BUGGY),-only buggy) $*

# One lab after the other by default: two cores are busy with one. PROCS=2 shares the
# scenarios out to two labs. SLEEP=10m leaves the lab of a failed scenario as it is so long.
PROCS ?= 1
GINKGO := $(GO) run github.com/onsi/ginkgo/v2/ginkgo
scenarios: image build ## Ginkgo scenarios on a container lab of their own: [LABEL=smoke] [FOCUS='reboot -f'] [SLEEP=10m] [PROCS=2] (root)
	@lab/testtools.sh etcd
	@mkdir -p reports; $(GINKGO) run -v --procs=$(PROCS) --timeout=60m --label-filter='$(or $(LABEL),!soak)' \
		--focus='$(FOCUS)' $(if $(SLEEP),--sleep-on-failure=$(SLEEP)) --output-dir=$(CURDIR)/reports \
		--junit-report=scenarios.xml --json-report=scenarios.json ./scenarios; \
	code=$$?; lab/engine.sh stop; \
	echo "reports/scenarios.xml (JUnit) and reports/scenarios.json tell of every scenario; one that failed left a bundle beside them"; \
	exit $$code

$(LINT):
	GOFLAGS= GOBIN=$(CURDIR)/bin/tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

lint: $(LINT) ## go vet, golangci-lint, govulncheck; the first build of the tools takes some minutes
	$(GO) vet ./...
	$(LINT) run ./...
	@$(MAKE) --no-print-directory vuln

$(VULN):
	GOFLAGS= GOBIN=$(CURDIR)/bin/tools $(GO) install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)

# Findings fail; a database that cannot be reached does not, and is said.
vuln: $(VULN) ## known vulnerabilities in what the binary calls, when their database can be reached
	@out=$$($(VULN) ./node 2>&1); code=$$?; \
	if [ $$code = 0 ]; then echo "govulncheck: nothing known"; \
	elif [ $$code = 3 ]; then echo "$$out"; exit 1; \
	else echo "govulncheck: skipped, its database cannot be reached: $$(echo "$$out" | tail -n 1 | cut -c1-120)"; fi

SIM_FOR ?= 1h
# make soak WALK=30m SEED=7 walks only.
soak: image build ## the long runs: larger bounds, repeated faults, WALK=30m [SEED=7] for a random walk (root)
ifdef WALK
	bin/lab walk --up --lab walk --for $(WALK) --seed $(or $(SEED),0)
	bin/lab down --lab walk
else
	GEMEL_CHECK_BOUND=large $(GO) test -count=1 -run Large -timeout 2h ./node/failover/reign/check
	GEMEL_WALKS=20000 $(GO) test -count=1 -run Walk -timeout 1h ./node/failover
	$(GO) test -count=1 -timeout 1h ./node/replicator/volume/core -sim.seeds=20000
	GEMEL_BOUNDARIES=all $(GO) test -count=1 -timeout 1h -run CrashAtEvery ./lab/sim
	$(GO) run ./lab/sim/simulate -for $(SIM_FOR)
	$(MAKE) --no-print-directory sim-mutants
	$(GO) test -count=1 -v -timeout 6h ./scenarios/... -ginkgo.label-filter='soak' -ginkgo.v
endif

bench: prepare ## compare with a raw loop device and a qemu mirror in one run (root)
	@lab/bench/run

test-vm: ## tests that need ublk, nbd or a restart, in a virtual machine with Debian's kernel; VM='-only ublk -run Suite' (root)
	@lab/vm/run $(VM)

compose-up: image build ## the same cluster through docker-compose instead of the chassis (root)
	@lab/compose.sh up

compose-down: ## remove the docker-compose cluster (root)
	@lab/compose.sh down

PREFIX ?= /usr/local
install: build ## put the binary, systemd units and module list on this box: make install [PREFIX=/usr] [DESTDIR=]
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) packaging/install.sh

deb: build ## a Debian package in bin/
	@packaging/deb.sh $(VERSION) bin

clean: ## remove what was built, tools apart
	rm -rf bin/gemel bin/lab bin/image bin/bench bin/vm bin/*.deb reports
