.DEFAULT_GOAL := help
.PHONY: help setup build demo test tour simulate parity bench-scale check advisories fuzz

# Where cargo puts programs; plain `cargo` follows the same variable. Programs are always built together with the whole
# workspace: a choice of packages has other features, for which all libraries would be compiled again.
target := $(or $(CARGO_TARGET_DIR),target)
programs := $(target)/release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install libtorch and nats-server into the cache and point cargo at them
	@scripts/setup

build: setup ## set up, then build in release mode
	cargo build --release --workspace

demo: build ## build, then train 38 small networks and five ensembles
	$(programs)/ferry run experiments/demo.yaml

test: setup ## set up, then run the whole test suite
	scripts/test-setup
	cargo test --workspace

tour: setup ## watch a toy sweep being steered, edited and finished
	cargo test --workspace --test system tour -- --nocapture

simulate: setup ## 10,000 sweeps under random faults, on a virtual clock
	cargo build --workspace --bin ferry-sim
	$(target)/debug/ferry-sim --seeds 10000

check: setup ## formatting, lints, layering, unused dependencies, licences
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	scripts/fuzz --check
	scripts/check-dependencies
	scripts/cargo-deny

advisories: ## known vulnerabilities of dependencies (needs github.com)
	scripts/cargo-deny advisories

fuzz: setup ## damaged input for every parser, MINUTES=10 each (docs/fuzzing.md)
	scripts/fuzz --minutes $(or $(MINUTES),10) $(TARGETS)

parity: build ## compare networks, losses, optimiser and views with PyTorch
	scripts/parity/run

bench-scale: build ## what Ferry costs with up to 100,000 jobs that do nothing (docs/scale.md)
	scripts/bench-scale $(OPTIONS)
