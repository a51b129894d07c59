# Every command of a developer. Continuous integration and pre-commit run these same targets.
# PYTHON is the interpreter that creates .venv; PORT is where `make ui` serves.

PYTHON ?= python3
PORT ?= 3000
BIN := .venv/bin
INSTALLED := .venv/.installed
# Errors only: pip warns once for each package about an index that lacks it.
QUIETLY := -qq --no-input --disable-pip-version-check
# A process for each core, and each file in one of them, because its tests share what takes long to build.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Dagster reads dagster.yaml from here; what it writes goes below PROFILE_PIPELINE_HOME (default data/).
export DAGSTER_HOME := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help demo ui test coverage test-spark check format lint types definitions bench bench-quick lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

# The stamp is written last, so that an interrupted installation is taken up again.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "'$(PYTHON)' is not Python 3.11 or newer; name one that is, such as: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' cannot create a virtual environment; install its venv module (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Installing into .venv; this takes some minutes, once." >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(QUIETLY) --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # on all cores; some packages ship templates that are no code
	@$(BIN)/python -m pip install $(QUIETLY) --no-build-isolation --no-deps -e .
	@touch $@

demo: $(INSTALLED) ## Build the sample and show what comes out
	@$(BIN)/profile-pipeline demo
	@echo "To see it in Dagster: make ui, then open http://127.0.0.1:$(PORT)"

ui: $(INSTALLED) ## Serve Dagster's UI with its schedule and sensors
	@$(BIN)/dg dev -w workspace.yaml --host 127.0.0.1 --port $(PORT)

test: $(INSTALLED) ## Run the tests
	@$(PYTEST)

coverage: $(INSTALLED) ## Run the tests and tell what of the code they reach; takes a third longer
	@$(PYTEST) --cov --cov-report=term:skip-covered --cov-fail-under=90

test-spark: $(INSTALLED) ## Install PySpark, too, and compare its answers with DuckDB's; needs Java 17
	@$(BIN)/python -m pip install $(QUIETLY) --no-build-isolation -c requirements.lock -e '.[spark]'
	@$(BIN)/python -m pytest profile_pipeline_tests/engines

check: format lint types definitions ## Check format, lint, types and definitions

format: $(INSTALLED) ## Check the format (mend it: .venv/bin/ruff format)
	@$(BIN)/ruff format --check .

lint: $(INSTALLED) ## Check the code with ruff
	@$(BIN)/ruff check .

types: $(INSTALLED) ## Check the types with mypy
	@$(BIN)/mypy

# dg compares the activated environment with .venv and warns where they differ.
definitions: $(INSTALLED) ## Check that Dagster loads the definitions
	@VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/dg check defs

# Hours at all sizes; ARGS narrows it down: make bench ARGS="--users 10000 --only profiles"
bench: $(INSTALLED) ## Compare with other ways of doing the same
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(INSTALLED) ## The same on a small sample, within two minutes
	@$(BIN)/python -m bench --quick

# A resolution from scratch: what is installed in .venv does not weigh in.
lock: $(INSTALLED) ## Pin the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip install $(QUIETLY) --dry-run --ignore-installed --report .lock.json -e '.[dev]'
	@$(BIN)/python .ci/lock.py < .lock.json > requirements.lock
	@rm .lock.json

clean: ## Remove .venv and caches; data/ stays
	@rm -rf .venv .logs_queue logs build dist *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find profile_pipeline profile_pipeline_tests -type d -name __pycache__ -prune -exec rm -rf {} +
