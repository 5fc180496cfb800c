# Everything a newcomer needs: Python 3.11 or newer with pip, and make. `make demo` and `make test` set up the rest.
.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-kafka test-all-kafka check unit setup clean

PYTHON ?= python3
TOOLS := .tools
# A uv that is installed is used; else one is brought into .tools, and nothing else on the machine is touched.
UV := $(shell command -v uv 2>/dev/null || echo $(TOOLS)/bin/uv)
RUN := .venv/bin
READY := .venv/.ready
# And with what only tests and checks need.
CHECKS := .venv/.ready-checks
# Tests wait for servers more than they compute, so more files are under way than there are cores. What
# measures costs runs by itself.
TOGETHER := --numprocesses 3 --dist loadfile

help: ## Tell what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(READY) ## A surge of real orders, from an empty machine to balanced books
	$(RUN)/floodway demo

test: $(CHECKS) ## The tests, on the real embedded stack
	$(RUN)/python -m pytest -m "not slow" $(TOGETHER) --ignore=tests/perf
	$(RUN)/python -m pytest -m "not slow" tests/perf

test-all: $(CHECKS) ## And those that take long: more drills, benches, peers
	$(RUN)/python -m pytest

test-kafka: $(CHECKS) ## The tests that need a broker, on Apache Kafka (Java 17 and Maven)
	$(RUN)/python -m pytest --broker kafka -k kafka -m "not slow" tests/integration tests/deploy/test_mounted.py

test-all-kafka: $(CHECKS) ## And the whole pipeline on it, three nodes too
	$(RUN)/python -m pytest --broker kafka -k kafka tests/integration tests/deploy/test_mounted.py tests/acceptance

unit: $(CHECKS) ## Only the tests that need no servers
	$(RUN)/python -m pytest tests/unit

check: $(CHECKS) ## Lint, types, layers, lock file, published schemas
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(UV) lock --check
	$(RUN)/floodway schema --check

setup: $(CHECKS) ## Only install

clean: ## Take away what was installed and all data
	rm -rf .venv $(TOOLS) .floodway

$(READY): pyproject.toml uv.lock | $(UV)
	$(UV) sync --locked --quiet --all-extras --python $(PYTHON)
	@touch $@

$(CHECKS): pyproject.toml uv.lock | $(UV)
	$(UV) sync --locked --quiet --all-extras --all-groups --python $(PYTHON)
	@touch $(READY) $@

# By --target: it needs neither the venv module, which Debian packs apart, nor leave to touch the system's Python.
$(TOOLS)/bin/uv:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target $(TOOLS) 'uv>=0.9'
