# Skald's commands. `make` alone lists them.

# Everything below is built from this checkout; nothing is stamped with its commit, so that a
# checkout owned by another user builds as well.
export GOFLAGS := -buildvcs=false $(filter-out -buildvcs%,$(GOFLAGS))

BIN := .cache/bin
LINT := $(BIN)/golangci-lint

.DEFAULT_GOAL := help
.PHONY: help check test demo bench microbench fuzz model format lint modules tidy vuln \
	check-modules check-tidy check-docs check-format check-std check-build check-race

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: check-modules check-tidy check-docs check-format check-std check-build lint check-race ## everything short of the adapters' tests: modules, format, vet, lint, race tests of the core

test: ## all tests of all modules, after saying what they run against
	@scripts/test

demo: ## FTGO in one process on a temporary folder: places orders, verifies every invariant
	go run ./examples/ftgo/cmd/ftgo demo

bench: ## createOrder and the parts, a JSON line each (go run ./bench -h)
	go run ./bench createorder
	go run ./bench throughput

microbench: ## the benchmarks of single statements and calls (BENCH=regexp chooses, BENCHTIME=1s)
	go test -run '^$$' -bench '$(or $(BENCH),.)' -benchtime $(or $(BENCHTIME),1s) -benchmem work

fuzz: ## each fuzz test for a short while (FUZZTIME=10s)
	@scripts/fuzz

model: ## the Promela model and its broken twins (needs spin and a C compiler)
	@docs/model/run

format: $(LINT) ## rewrite the code in gofumpt's and gci's form
	$(LINT) fmt

lint: $(LINT) ## golangci-lint in every module
	scripts/lint

modules: ## bring the nested go.mod files up to date: replaces, then go mod tidy
	GOWORK=off go run ./scripts/modules
	GOWORK=off scripts/each go mod tidy

vuln: ## known vulnerabilities in what is called (asks the vulnerability database)
	cd tools && GOWORK=off go build -o ../$(BIN)/ golang.org/x/vuln/cmd/govulncheck
	scripts/each $(CURDIR)/$(BIN)/govulncheck ./...

check-modules:
	GOWORK=off go run ./scripts/modules -check

check-tidy:
	GOWORK=off scripts/each go mod tidy -diff
	cd tools && GOWORK=off go mod tidy -diff

check-docs:
	scripts/docs
	GOWORK=off go run ./scripts/faults -check

check-format: $(LINT)
	$(LINT) fmt --diff

check-std:
	scripts/stdonly

# With the workspace and without it: the replaces must lead to what the workspace has.
check-build:
	go build work
	go vet work
	GOWORK=off scripts/each go build -o /dev/null ./...
	GOWORK=off scripts/each go vet ./...

check-race:
	go test $$(scripts/race) ./...
	go test -run 'InEveryCourse$$' ./skaldtest

# Built once, at the versions that tools/go.mod pins.
$(LINT): tools/go.mod tools/go.sum
	mkdir -p $(BIN)
	cd tools && GOWORK=off go build -trimpath -o ../$(BIN)/ \
		github.com/golangci/golangci-lint/v2/cmd/golangci-lint mvdan.cc/gofumpt
	touch $@
