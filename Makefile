# The front door. `make demo` and `make test` do all the set-up on a Linux machine that has Python 3.11 or later.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
MODELS := qwen2.5-coder-1.5b smollm2-135m
PYTEST_ARGS ?=

# The first of the usual names that is new enough; `make PYTHON=/path/to/python demo` chooses another.
PYTHON = $(shell for name in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)

# Kept apart from the caller's own uv project or virtual environment; --inexact leaves pip and uv in place.
SYNC = env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON=$(BIN)/python UV_PYTHON_DOWNLOADS=never \
	$(BIN)/uv sync --quiet --frozen --inexact --extra local --extra demo

# Where the figures of `make bench-sandbox` go.
BENCH_JSON ?= build/bench-sandbox.json

# Where the table of `make abuse-report` goes.
ABUSE_JSON ?= build/abuse.json

.PHONY: help demo test lint abuse-report bench bench-wires bench-edits bench-tools bench-localise bench-sandbox sandbox weights clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed sandbox ## Repair the bundled repository with the embedded model
	@$(BIN)/pawl demo

test: $(VENV)/.installed-dev sandbox weights ## Run all tests in two workers; PYTEST_ARGS="-k name" narrows them
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev ## Check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

abuse-report: $(VENV)/.installed-dev sandbox ## Run the 76 abuse cases; table, and JSON to ABUSE_JSON
	@mkdir -p $(dir $(ABUSE_JSON))
	@$(BIN)/python -m tests.sandbox.abuse.report $(ABUSE_JSON)

bench: $(VENV)/.installed-dev ## Measure the start-up, and what finding calls costs a token
	@$(BIN)/python -P tests/bench/startup.py
	@$(BIN)/python -m tests.bench.dialects

bench-wires: $(VENV)/.installed-dev ## Measure what pawl costs for each request and streamed token
	@$(BIN)/python -P tests/bench/wires.py

bench-edits: $(VENV)/.installed-dev ## Make the corpus of edits with pawl and two peers, installed apart
	@$(BIN)/python -m tests.bench.edits

bench-localise: $(VENV)/.installed-dev sandbox ## Inject faults into fetched packages and look where they are ranked
	@$(BIN)/python -m tests.bench.localize

bench-tools: $(VENV)/.installed-dev sandbox ## Measure the tools beyond their sandbox, and grep beside ripgrep
	@$(BIN)/python -P -m tests.bench.tools

bench-sandbox: $(VENV)/.installed-dev sandbox ## Measure the sandboxes beside docker itself; JSON to BENCH_JSON
	@mkdir -p $(dir $(BENCH_JSON))
	@$(BIN)/python -P tests/bench/sandbox.py --json $(BENCH_JSON)

clean: ## Remove the environment and everything built
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Docker or bubblewrap: when neither works, bubblewrap is installed; when that fails, pawl says what to do.
sandbox: $(VENV)/.installed
	@$(BIN)/pawl doctor sandbox >/dev/null 2>&1 || { .ci/system-install bubblewrap; $(BIN)/pawl doctor sandbox; }

# Without the weights the tests that need them are skipped, and say so.
weights: $(VENV)/.installed
	@for model in $(MODELS); do $(BIN)/pawl models pull "$$model" || true; done

$(VENV)/.installed: pyproject.toml uv.lock $(BIN)/uv
	@$(SYNC)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml uv.lock $(BIN)/uv
	@$(SYNC) --extra dev
	@touch $@ $(VENV)/.installed

# Debian keeps the module that puts pip into a new environment in a package of its own.
$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "pawl needs Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'from ensurepip import version' 2>/dev/null || \
		.ci/system-install "$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@
