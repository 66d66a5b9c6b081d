# The one list of commands: what a person runs and what CI runs is the same. `make` alone shows it.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo setup test ci fmt lint unit tidy deny advisories typos build e2e soak bench \
	check-fmt check-clippy check-docs

# Every step says what it is, so that a log can be read from a distance.
step = @printf '\n==> %s\n' '$(1)'

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a server with an organization, three products and traffic, to look at
	cargo run --release --locked -- demo

setup: ## install what building and testing need and this machine lacks
	$(call step,setup)
	@bash scripts/setup.sh

# The order of CI: what is quick and fails often comes first. The first failing step ends it.
test: setup check-fmt check-clippy check-docs unit tidy deny typos build e2e ## everything that CI runs, in its order
	$(call step,all steps passed)

ci: test ## the same as test

fmt: ## format the code
	cargo fmt --all

lint: check-fmt check-clippy check-docs tidy deny typos ## all checks that run no test

check-fmt:
	$(call step,format)
	@cargo fmt --all --check

check-clippy:
	$(call step,clippy)
	@cargo clippy --workspace --all-targets --locked -- -D warnings

check-docs:
	$(call step,rustdoc)
	@RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

unit: ## the Rust tests
	$(call step,Rust tests)
	@cargo nextest run --workspace --locked

tidy: ## sizes, names, crate edges, snapshots, dead links (xtask/)
	$(call step,tidy)
	@cargo xtask tidy

# It looks at the crates of every platform; cargo has fetched those of this one only.
deny: ## licences, banned crates and sources (deny.toml)
	$(call step,cargo-deny)
	@cargo fetch --locked --quiet
	@cargo deny --locked --offline --workspace check bans licenses sources

advisories: ## known weaknesses of the crates used; needs the network, so CI does not run it
	cargo deny --locked --workspace check advisories

typos: ## spelling (typos.toml)
	$(call step,typos)
	@target/tools/bin/typos

# The dev profile: the tests have built its dependencies already.
build: ## the binary, dev profile
	$(call step,build)
	@cargo build --locked

e2e: build ## end-to-end tests against the built binary
	$(call step,end-to-end tests)
	@bash e2e/run.sh

soak: build ## kills the server 100 times under load (CYCLES=n, SEED=n) and compares the books
	$(call step,crash harness)
	@node e2e/soak.mjs

bench: ## figures of a release build: lists of a large organization, throughput against the load harness and the peers' own clients
	folder=$$(mktemp -d); cargo run --release --locked -p tributary-control --features testing --example list_speed -- $$folder; \
		status=$$?; rm -rf $$folder; exit $$status
	cargo build --release --locked
	node e2e/bench.mjs
	node e2e/bench-scale.mjs
	node e2e/bench-kinds.mjs
