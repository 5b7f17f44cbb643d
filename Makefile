# `make demo` and `make test` work on a fresh clone: each makes the environment first.

PYTHON := .venv/bin/python
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-all test slow slow-ci lint format types floors ci constraints clean

help:
	@echo "make demo         fit three example patients, forecast their plans, write demo/report.html"
	@echo "make demo-all     the same with all example patients"
	@echo "make test         the everyday tests"
	@echo "make slow         the slow tests (statistics, whole fits)"
	@echo "make slow-ci      those of the slow tests that the continuous integration runs"
	@echo "make lint         style (ruff)"
	@echo "make format       mend the style where that can be done by itself"
	@echo "make types        types (mypy)"
	@echo "make floors       which room may import which (import-linter)"
	@echo "make ci           everything that the continuous integration runs"
	@echo "make setup        the environment .venv alone"
	@echo "make constraints  refresh the pinned versions in constraints.txt"
	@echo "make clean        remove the environment, caches and the demo's results"

setup: $(READY)

$(READY): pyproject.toml constraints.txt scripts/make_venv.sh
	@sh scripts/make_venv.sh

demo: $(READY)
	@$(PYTHON) scripts/demo.py

demo-all: $(READY)
	@$(PYTHON) scripts/demo.py --all

test: $(READY)
	@$(PYTHON) -m pytest -n 2

slow: $(READY)
	@$(PYTHON) -m pytest -m slow

# pytest leaves with 5 where no test is chosen; here that is no fault.
slow-ci: $(READY)
	@$(PYTHON) -m pytest -m "slow and ci" || [ $$? -eq 5 ]

lint: $(READY)
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check

format: $(READY)
	@$(PYTHON) -m ruff check --fix
	@$(PYTHON) -m ruff format

types: $(READY)
	@$(PYTHON) -m mypy

floors: $(READY)
	@.venv/bin/lint-imports

ci:
	@.ci/run

constraints: $(READY)
	@sh scripts/refresh_constraints.sh

clean:
	rm -rf .venv build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find persist tests scripts -name __pycache__ -type d -exec rm -rf {} +
