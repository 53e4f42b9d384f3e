# What continuous integration calls is what a person calls. Needs Rust, make, and Python 3.10 or newer with venv.

PYTHON ?= python3
CARGO ?= cargo
VENV := .tools/venv
STAMP := $(VENV)/.installed

.PHONY: help
help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 16

.PHONY: tools
tools: $(STAMP) ## Install what the tests run besides Rust into .tools/

$(STAMP): tests/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) must be Python 3.10 or newer" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check:
	$(CARGO) fmt --all --check

.PHONY: lint
lint: ## Lint all code, tests included
	$(CARGO) clippy --locked --all-targets -- -D warnings

.PHONY: deny
deny: ## Hold the dependencies against deny.toml (needs cargo-deny)
	$(CARGO) deny --locked check licenses bans sources

.PHONY: test
test: tools fmt-check lint ## Run every check and every test
	$(CARGO) test --locked

.PHONY: bench
bench: tools ## Measure the walk, memory and throughput in a release build
	$(CARGO) bench --locked --bench night

HISTORIES ?= 200

.PHONY: soak
soak: tools ## Kill, break and race it HISTORIES times (200); lines that begin with SOAK tell what came of it
	TELELAKE_SOAK=$(HISTORIES) $(CARGO) test --locked --release --test it -- reliability:: soak:: --nocapture --test-threads=1

.PHONY: clean-tools
clean-tools: ## Remove .tools/
	rm -rf .tools
