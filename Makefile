# The first that really runs: a name may be found that only a version manager's stub answers to.
PYTHON ?= $(shell for python in python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := requirements.lock
URL ?= http://127.0.0.1:8321
PASSWORD ?=
OUT ?= docs/review-page.png
# Tests wait for processes more than they compute; each worker has a PostgreSQL of its own.
JOBS ?= 3
ROUNDS ?= 5

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-icu serve test check format train bench chaos chaos-full lock screenshots clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.runtime: pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or 3.12 is needed; found $$($(PYTHON) --version). Say PYTHON=/path/to/python."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint $(LOCK) --editable '.[model]'
	touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP) install --quiet --constraint $(LOCK) --editable '.[model,dev]'
	touch $@

setup: $(VENV)/.development ## Create the environment with everything that development needs

demo: $(VENV)/.runtime ## Serve the review page with predictions for the sample patients
	$(BIN)/clinical demo

demo-icu: $(VENV)/.runtime ## The same with real, de-identified stays in intensive care
	$(BIN)/clinical demo --icu

serve: $(VENV)/.runtime ## Start web, worker, model and an embedded PostgreSQL; no sample patients
	$(BIN)/clinical up

test: $(VENV)/.development ## Run all tests (missing Chromium or RabbitMQ: those tests are skipped)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

check: $(VENV)/.development ## Lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.development ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(VENV)/.runtime ## Train the world model on the shipped patients, into var/checkpoints/cpu-small
	$(BIN)/clinical train --out var/checkpoints/cpu-small

bench: $(VENV)/.development ## Run every benchmark and write BENCHMARKS.json and BENCHMARKS.md
	$(BIN)/clinical bench all

chaos: $(VENV)/.development ## Break a running site in ten known ways, and judge what it kept (5 minutes)
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --out var/chaos

chaos-full: $(VENV)/.development ## The same with all faults (longer; some need root)
	$(BIN)/python -m tests.chaos --full --rounds $(ROUNDS) --out var/chaos-full

lock: $(VENV)/.development ## Write requirements.lock from what is installed
	$(PIP) freeze --exclude-editable | sed -E 's/\+cpu$$//' > $(LOCK)

screenshots: $(VENV)/.development ## Take the README's pictures of a running demo: PASSWORD=… [URL=…] [OUT=docs/icu-page.png]
	$(BIN)/python -m tests.browser.screenshot "$(URL)" demo "$(PASSWORD)" "$(OUT)"

clean: ## Remove the data folder and caches, never the environment
	rm -rf var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
