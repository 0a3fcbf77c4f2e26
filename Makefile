# Every target that starts with a word and two hashes shows up in `make help`.

SHELL := /bin/bash
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

version := $(or $(VERSION),$(shell git describe --tags --always --dirty 2>/dev/null || echo devel))
go_build = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(version)'

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/worker and bin/enqueue
	@scripts/ensure-tools.sh go
	$(go_build) -o bin/ ./cmd/worker ./cmd/enqueue

.PHONY: demo
demo: ## Try it out: build and serve examples/hello-web on port $DEMO_PORT (8080)
	@scripts/demo.sh

.PHONY: demo-down
demo-down: ## End the demo and remove everything it made
	@scripts/demo-down.sh

.PHONY: demo-rebuild
demo-rebuild: ## See a day of rebuilds: two hosts, a registry, twelve images, a new base (as root; leaves nothing)
	@scripts/demo-rebuild.sh

.PHONY: test-short
test-short: ## Run the tests that need neither Docker nor Redis
	go test ./...

.PHONY: test
test: ## Run all tests with the race detector (as root; installs what they need)
	@scripts/ensure-tools.sh test
	@scripts/tool.sh versitygw --version >/dev/null
	@# the longest begin first: e2e takes as long as all others together
	go test -race -tags integration -count=1 -p 2 -timeout 30m ./internal/e2e ./internal/engine/docker ./internal/worker ./...

.PHONY: test-http
test-http: ## Run tests of whole farms again, with producers that have the farm's server only (as root)
	@scripts/ensure-tools.sh test
	go test -tags integration -count=1 -timeout 20m ./internal/e2e -e2e.http -run \
		'Smoke$$|Example$$|Outputs$$|OutputFailures|Echo|LogOfARunningJob|BuildLog|ServiceInSight|ServiceCancel|Push$$|Secrets|TestRebuild$$|NamedContexts|OnlyWhatChanged|LargeContexts|HostDrained|TestCancel$$|Idempotency|TestFailures$$'

.PHONY: simulation
simulation: ## Run 100,000 jobs with everything that goes wrong, and break the farm on purpose
	go test -C internal/simulation -count=1 -timeout 20m -seed=0 -jobs=100000 -each=200
	go test -count=1 -timeout 20m -tags mutants -run TestMutants -v ./internal/simulation

.PHONY: chaos
chaos: ## Let a monkey loose on three farms with real Docker and Redis (some minutes)
	@scripts/ensure-tools.sh test
	go test -tags integration,chaos -count=1 -timeout 20m -parallel 4 -v ./internal/chaos -run TestChaos

.PHONY: matrix
matrix: ## Kill and stop processes at every step, and measure how jobs recover
	@scripts/ensure-tools.sh test
	go test -tags integration,chaos -count=1 -timeout 20m -v ./internal/chaos -run 'TestMatrix|TestRecovery'

.PHONY: broken
broken: ## Break one of two hosts in each way, with 200 jobs at each time (about half an hour)
	@scripts/ensure-tools.sh test
	go test -tags integration,chaos -count=1 -timeout 90m -v ./internal/e2e -run 'TestBrokenHost$$' -broken.jobs 200

.PHONY: engines
engines: ## Run what depends on the engine on four Docker engines (about an hour; builds them once)
	@scripts/ensure-tools.sh engines
	@scripts/engines.sh

.PHONY: soak
soak: ## The monkey for longer (ten fresh seeds with 200 jobs and 50 faults each), and a tag that is built 1000 times
	@scripts/ensure-tools.sh test
	go test -tags integration,chaos -count=1 -timeout 3h -parallel 4 -v ./internal/chaos -run TestChaos \
		-chaos.fresh 10 -chaos.jobs 200 -chaos.faults 50
	go test -tags integration -count=1 -timeout 2h -v ./internal/e2e -run TestRebuildsOfATag -rebuilds 1000

.PHONY: bench
bench: ## Measure throughput and latency against real Docker and Redis
	@scripts/ensure-tools.sh bench
	go test -tags integration -run '^$$' -bench . -benchtime 1x -timeout 45m ./internal/bench

.PHONY: scale
scale: ## Measure 500 workers, 100,000 waiting and 1,000,000 ended jobs on one Redis (about ten minutes)
	@scripts/ensure-tools.sh test
	go test -tags integration -count=1 -timeout 30m -v ./internal/scale -scale.workers 50,125,250,500 -scale.each 25 \
		-scale.queued 1000,10000,100000 -scale.finished 10000,100000,1000000 -scale.routes 1,10,100,1000 \
		-scale.run 10s -scale.idle 15s -scale.load 20s -scale.claims 100

.PHONY: lint
lint: ## Check format, code and scripts
	@scripts/ensure-tools.sh lint
	shellcheck -x .ci/run scripts/*.sh internal/hosttest/*.sh examples/*/*.sh deploy/debian/p*
	go vet ./... # golangci-lint reads the code with build tags; go test ./... has none
	GOOS=windows go build -o /dev/null ./cmd/enqueue # producers have it, too
	scripts/tool.sh golangci-lint run ./...
	@go test -C tools/callgraph .
	@go test -C tools/sbom .
	@go test -C tools/manifests .
	@go run -C tools/callgraph . ../.. ceilings.txt

.PHONY: fmt
fmt: ## Format the code
	scripts/tool.sh gofumpt -l -w client cmd internal examples

.PHONY: up
up: ## Start a farm with compose: Redis and a worker on this host's Docker
	@scripts/compose.sh up -d --build

.PHONY: down
down: ## Stop that farm; its data stays in its volumes
	@scripts/compose.sh --profile api down

.PHONY: compose-check
compose-check: ## Bring the compose stack up offline, run a job through it, take it down
	@scripts/ensure-tools.sh compose
	@scripts/compose-check.sh

.PHONY: release
release: ## Make archives, Debian packages, SBOMs and SHA256SUMS in dist/ (VERSION= names another version)
	@scripts/ensure-tools.sh package
	@scripts/release.sh

.PHONY: release-check
release-check: ## Make a release twice, in two directories, and compare (some minutes)
	@scripts/ensure-tools.sh package
	@scripts/release-check.sh

.PHONY: package-check
package-check: ## Install, upgrade, remove and purge the Debian package in a throw-away copy of this system (as root)
	@scripts/ensure-tools.sh package
	@scripts/package-check.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist .tools
