# `make help` lists the targets; the text after ## is what it prints.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BUILD := .build
TOOLS := $(BUILD)/bin

VERSION ?= $(shell git describe --tags --dirty --match 'v*' 2>/dev/null)

# How long each fuzz target runs, and how often each benchmark.
FUZZTIME ?= 20s
COUNT ?= 6
# How long make soak runs: a duration, as Go writes it.
SOAK ?= 1h
# Which benchmarks: a regular expression, as go test takes it.
BENCH ?= .

##@ Use

.PHONY: run
run: ## Start a server with an embedded store and a demo shop's flags
	@test -x $(BUILD)/server || echo 'building the server: the first time takes a minute or two' >&2
	@go build -o $(BUILD)/ ./cmd/server && exec $(BUILD)/server --demo --data-dir ./plimsoll-data $(ARGS)

.PHONY: build
build: ## Build bin/server and bin/flagctl
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/server ./cmd/flagctl

##@ Check

.PHONY: test
test: ## Run every test, in a browser too
	go test ./...
	@$(MAKE) --no-print-directory e2e

.PHONY: e2e
e2e: chromium ui/e2e/node_modules/.package-lock.json ## Test the console in Chromium, installing what is missing
	go build -o $(BUILD)/ ./cmd/server ./cmd/flagctl ./examples/hello
	cd ui/e2e && CHROMIUM="$$(command -v "$${CHROMIUM:-chromium}")" node run.mjs

.PHONY: chromium
chromium:
	@if ! command -v "$${CHROMIUM:-chromium}" >/dev/null; then \
	  if [[ $$(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then \
	    echo 'no Chromium: install it (Debian: apt-get install chromium), or say where one is: CHROMIUM=/path/to/chromium' >&2; exit 1; \
	  fi; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null; \
	fi

ui/e2e/node_modules/.package-lock.json: ui/e2e/package.json ui/e2e/package-lock.json
	cd ui/e2e && npm ci --no-audit --no-fund
	@touch $@

.PHONY: test-race
test-race: ## Run the tests under the race detector, but for packages that link etcd
	pkgs="$$($(without_etcd))"; go test -race $$pkgs

.PHONY: interop
interop: ## Run the providers of other languages against a server; writes docs/interop.md (ONLY=rust,java: no more than those)
	@$(MAKE) --no-print-directory chromium || [[ "$${CI:-}" != true ]]
	CHROMIUM="$$(command -v "$${CHROMIUM:-chromium}" || true)" PLIMSOLL_INTEROP=$(or $(ONLY),all) \
	  go test -count=1 -timeout 20m -v -run '^TestInterop$$' ./examples/interop

.PHONY: soak
soak: ## Ping an idle stream every second for $SOAK (1h), while flags change beside it
	PLIMSOLL_SOAK=$(SOAK) go test -count=1 -timeout 0 -v -run '^TestAPingEverySecond$$' ./cmd/server

.PHONY: vet
vet: ## Run go vet on the product and on bench/
	go vet ./...
	go -C bench vet ./...

.PHONY: fmt-check
fmt-check: ## Fail if a Go file is not formatted
	@bad="$$(gofmt -l $$(git ls-files --cached --others --exclude-standard --deduplicate '*.go' | xargs -r ls 2>/dev/null))"; \
	if [[ -n "$$bad" ]]; then printf 'not formatted; run gofmt -w on:\n%s\n' "$$bad"; exit 1; fi

.PHONY: lint
lint: fmt-check vet $(TOOLS)/golangci-lint ## Check formatting, vet, and the linters of .golangci.yml
	$(TOOLS)/golangci-lint run

.PHONY: fuzz
fuzz: ## Run every fuzz target for $FUZZTIME (20s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
	  grep -oE '^func Fuzz\w+' "$$file" | sed 's/^func //' | while read -r target; do \
	    echo "== $$target in $$(dirname "$$file")"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
	  done; \
	done

.PHONY: bench
bench: $(TOOLS)/benchstat ## Measure the product and its peers, and print medians (COUNT=6 BENCH=.)
	@mkdir -p $(BUILD)/bench
	go test $(bench_flags) -skip '^Benchmark(Fanout|Reports|Rollout)$$' $$($(with_benchmarks)) | tee $(BUILD)/bench/product.txt
	go -C bench test $(bench_flags) -skip '^BenchmarkScaling$$' . | tee $(BUILD)/bench/peers.txt
	go -C bench test $(bench_flags) -skip '^Benchmark(Evaluate|Load)$$' -cpu 1,2 . | tee $(BUILD)/bench/scaling.txt
	$(TOOLS)/benchstat $(BUILD)/bench/product.txt
	$(TOOLS)/benchstat -col /impl $(BUILD)/bench/peers.txt
	$(TOOLS)/benchstat -row .name,/case,/impl -col /gomaxprocs $(BUILD)/bench/scaling.txt

.PHONY: bench-fanout
bench-fanout: ## Measure a change on its way to 1 000 to 10 000 streams, beside a bare server (4 minutes)
	go test -run '^$$' -bench '^Benchmark(Fanout|Reports)$$' -benchtime 1x -timeout 30m ./cmd/server

.PHONY: bench-overload
bench-overload: ## Measure what a saturated server serves, beside failsafe-go's prioritizer, and draw it (4 minutes)
	go -C bench run ./overload -svg ../docs/overload.svg

##@ Generate

.PHONY: generate
generate: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-connect-go $(TOOLS)/templ $(BUILD)/protovalidate ## Lint the .proto files and write the Go code of them and of the pages anew
	$(TOOLS)/buf lint
	find proto -name '*.pb.go' -delete -o -name '*.connect.go' -delete
	PATH="$(CURDIR)/$(TOOLS):$$PATH" buf generate
	find ui -name '*_templ.go' -delete
	$(TOOLS)/templ generate -path ui -log-level error

.PHONY: breaking
breaking: $(TOOLS)/buf $(BUILD)/protovalidate ## Compare the .proto files with the last release and with main
	BUF=$(TOOLS)/buf ./.ci/breaking

.PHONY: clean
clean: ## Remove what was built; keeps plimsoll-data
	rm -rf bin $(BUILD)

.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# A tool is built from tools.mod on first use, and again when that changes.
$(TOOLS)/%: tools.mod tools.sum
	@mkdir -p $(TOOLS)
	go build -modfile=tools.mod -o $@ "$$(go list -modfile=tools.mod tool | grep '/$*$$')"

# validate.proto, which ours import, comes out of the Go module that has it.
$(BUILD)/protovalidate: tools.mod tools.sum proto/internal/validateproto/main.go
	go run -modfile=tools.mod proto/internal/validateproto/main.go $@
	@touch $@

# Packages whose tests do not link the etcd server, which takes minutes to
# build for the race detector.
without_etcd = go list -test -f '{{.ImportPath}} {{.Deps}}' ./... | grep '\.test ' | grep -v 'go.etcd.io/etcd/server/' | sed 's/\.test .*//'

bench_flags = -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 60m

with_benchmarks = grep -rlE '^func Benchmark' --include='*_test.go' --exclude-dir=bench . | xargs -r dirname | sort -u
