# `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test unit check docs bench mongo clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

PAGES = README.md CONTRIBUTING.md CHANGELOG.md $(wildcard docs/*.md docs/*/*.md)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed ## Train DeNetDM and ERM on coloured digits and show both results (minutes, no data download)
	@bash scripts/demo.sh $(BIN)/python

test: $(VENV)/.installed-dev ## Run the tests
	@$(BIN)/python -m pytest -n auto --dist worksteal

unit: $(VENV)/.installed-dev ## Run the tests without those that are slow or kill processes (minutes)
	@$(BIN)/python -m pytest -n auto -m "not processes and not long"

check: $(VENV)/.installed-dev ## Lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.installed-dev ## Build the documentation into site/, and check its links, spelling and style
	@$(BIN)/zensical build --strict
	@$(BIN)/codespell $(PAGES)
	@$(BIN)/proselint check --config .proselintrc.json $(PAGES)

bench: $(VENV)/.installed ## Measure the speed of this machine (see benchmarks/)
	@$(BIN)/python -m benchmarks

mongo: $(VENV)/.installed-dev ## Start a local MongoDB on port 27017, data in .mongo/ (stop it with Ctrl-C)
	@$(BIN)/python -m debiaslab.recording.server

# incense has no wheel, and its setup.py needs modules that Python 3.12 has removed
$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; name one with make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the requirements into $(VENV) (once, some minutes)"
	@$(PIP) --constraint requirements.txt setuptools
	@PYTHONPATH="$(CURDIR)/scripts/old_python" $(PIP) --constraint requirements.txt --no-build-isolation --no-deps incense
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(PIP) -r requirements-dev.txt
	@touch $@

clean: ## Remove the environment and caches of tools (records and data stay)
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache
