# What can be done here. Each target says so behind two hashes; `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# Built together and run as they are: the demo starts the programs that lie beside it. Not optimised, as it waits more than it
# computes and `make test` needs the same build.
DEMO_BUILD = cargo build --locked -p engine-cli -p engine-examples --bins
DEMO = "$${CARGO_TARGET_DIR:-target}/debug/demo"

.PHONY: demo
demo: ## kill a worker and a server in the middle of real work (SQLite), and check what is left
	$(DEMO_BUILD)
	$(DEMO)

.PHONY: demo-postgres
demo-postgres: ## the same on a throwaway Postgres cluster
	scripts/ensure-postgres
	$(DEMO_BUILD)
	$(DEMO) --postgres

.PHONY: test
test: ## all tests, with Postgres
	scripts/test

.PHONY: soak
soak: ## the end-to-end kill tests, over and over until you stop them
	scripts/soak

.PHONY: verify
verify: ## what CI runs: format, clippy, documentation, tests
	.ci/run

.PHONY: fmt
fmt: ## format the code
	cargo fmt --all

.PHONY: lint
lint: ## clippy, warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: doc
doc: ## build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: deny
deny: ## licences and sources of dependencies (needs cargo-deny)
	cargo deny --all-features check bans licenses sources

.PHONY: bench
bench: ## all workloads, shortly, on a throwaway Postgres cluster, beside what other engines reached
	scripts/ensure-postgres
	cargo build --locked --release -p engine-bench
	"$${CARGO_TARGET_DIR:-target}/release/engine-bench" all

.PHONY: bench-check
bench-check: ## all workloads, small, on every store: whether they work, not how fast (part of `make test`)
	scripts/with-postgres cargo test --locked --workspace --test check

.PHONY: bench-micro
bench-micro: ## what single parts cost: deciding, encoding, replaying, queueing (criterion)
	cargo bench --locked -p engine-micro

.PHONY: gate
gate: ## how long a program takes to check its build against 10,000 open runs, on SQLite and on Postgres
	scripts/ensure-postgres
	cargo build --locked --release -p engine-e2e --bins
	"$${CARGO_TARGET_DIR:-target}/release/engine-gate"

.PHONY: tally
tally: ## the example that takes 100,000 signals in one workflow after the other, and how long it takes
	cargo build --locked -p engine-examples --bin tally
	@TIMEFORMAT='%R seconds'; time "$${CARGO_TARGET_DIR:-target}/debug/tally"

.PHONY: golden
golden: ## record histories of the examples for this release, those that it lacks (CONTRIBUTING.md)
	BLESS=1 cargo test --locked -p engine-examples --test golden -- every_way_of_every_program
	cargo test --locked -p engine-examples --test golden

.PHONY: oracle
oracle: ## record the reference's histories of our scenarios again (docs/histories.md; needs Python and a package index)
	scripts/oracle/run

.PHONY: figures
figures: ## how soon work goes on after a kill, and what an idle server takes, beside their targets
	cargo build --locked --release -p engine-e2e --bins
	"$${CARGO_TARGET_DIR:-target}/release/engine-figures"

.PHONY: postgres
postgres: ## a throwaway Postgres cluster: prints its URL, ends when its standard input does (Ctrl-D)
	@cargo run --locked --quiet -p engine-testkit --bin engine-testkit-postgres
