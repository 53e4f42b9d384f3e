# What continuous integration calls is what a person calls. Needs Rust, make, Python 3.10 or newer with venv, and
# Chromium, which `make browser` installs on Debian for root. Tests leave pictures of the page in target/screenshots/.

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

.PHONY: browser
browser: ## Find a Chromium for the tests of the page, or install Debian's
	@set -e; \
	if [ -n "$$CHROMIUM" ]; then \
	  command -v "$$CHROMIUM" >/dev/null || { echo "CHROMIUM=$$CHROMIUM is no program" >&2; exit 1; }; \
	elif command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
	  echo "the tests of the page need Chromium: install it (Debian: apt-get install chromium), or set CHROMIUM to its program" >&2; exit 1; \
	fi

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
test: tools browser fmt-check lint ## Run every check and every test
	$(CARGO) test --locked

.PHONY: bench
bench: tools ## Measure the walk, memory and throughput in a release build
	$(CARGO) bench --locked --bench night

HISTORIES ?= 200

.PHONY: soak
soak: tools ## Kill, break and race it HISTORIES times (200); lines that begin with SOAK tell what came of it
	TELELAKE_SOAK=$(HISTORIES) $(CARGO) test --locked --release --test it -- reliability:: soak:: --nocapture --test-threads=1

.PHONY: try-deploy
try-deploy: ## Walk through deploy/README.md in a fresh Debian (needs root, debootstrap, systemd-container)
	$(CARGO) build --locked
	deploy/try.sh

.PHONY: image
image: ## Build the image and try it (needs docker or podman)
	deploy/image.sh

.PHONY: image-bases
image-bases: ## Stand-ins for the images it builds on, where no registry is in reach (needs root, debootstrap)
	deploy/bases.sh

.PHONY: servers
servers: tools ## Run two nights into Ceph, moto, s3rver and SeaweedFS; lines that begin with SOAK tell what came of it
	CARGO="$(CARGO)" tests/servers/run.sh $(SERVERS)

.PHONY: clean-tools
clean-tools: ## Remove .tools/
	rm -rf .tools
