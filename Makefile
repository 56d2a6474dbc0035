# Bare `make` prints the targets. Building needs Go; the lab needs root and a Debian host.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GO ?= go
LAB ?= gemel
LINT_VERSION := v2.12.2
LINT := bin/tools/golangci-lint
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)

.PHONY: help build prepare image lab lab-down lab-status test unit scenarios lint soak bench compose-up compose-down clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

build: ## build bin/gemel (static) and bin/lab
	CGO_ENABLED=0 $(GO) build -ldflags "-X main.version=$(VERSION)" -o bin/gemel ./node
	CGO_ENABLED=0 $(GO) build -o bin/lab ./lab

prepare: ## install what the lab needs and start a container engine (root)
	@lab/prepare.sh

image: prepare
	@images/build.sh

lab: image build ## two servers, a witness and a client on this machine, then the tour (root)
	@bin/lab up --lab $(LAB) --tour

lab-down: ## remove the lab with all it made, and the engine if the lab started it (root)
	@if [ -x bin/lab ] && lab/engine.sh status >/dev/null 2>&1; then bin/lab down --lab $(LAB); fi
	@lab/engine.sh stop

lab-status: ## show boxes, cables and disks (root)
	@bin/lab status --lab $(LAB)

test: lint unit scenarios ## lint, unit tests with the race detector, scenarios on the lab (root)

unit: ## unit tests with the race detector
	$(GO) test -race $$($(GO) list ./... | grep -v '/scenarios')

scenarios: image build ## Ginkgo scenarios on a container lab of their own (root)
	$(GO) test -count=1 -timeout 60m ./scenarios/... -ginkgo.label-filter='$(or $(LABEL),!soak)' -ginkgo.v

$(LINT):
	GOFLAGS= GOBIN=$(CURDIR)/bin/tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

lint: $(LINT) ## golangci-lint; its first build takes some minutes
	$(LINT) run ./...

soak: image build ## the long runs: larger bounds, repeated faults (root)
	GEMEL_SOAK=1 $(GO) test -count=1 -timeout 6h ./node/... ./lab/...
	$(GO) test -count=1 -timeout 6h ./scenarios/... -ginkgo.label-filter='soak' -ginkgo.v

bench: prepare ## compare with a raw loop device and a qemu mirror in one run (root)
	@lab/bench/run

compose-up: image build ## the same cluster through docker-compose instead of the chassis (root)
	@lab/compose.sh up

compose-down: ## remove the docker-compose cluster (root)
	@lab/compose.sh down

clean: ## remove what was built, tools apart
	rm -rf bin/gemel bin/lab bin/bench reports
