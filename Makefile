# Every target makes its own virtual environment; nothing else has to be installed
# but Python 3.11 or newer and make. Use another Python with `make test PYTHON=python3.12`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test check bench docs soak soak-crash soak-network fuzz setup clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## make or refresh the virtual environment

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "gossipbook needs Python 3.11 or newer, but '$(PYTHON)' is `$(PYTHON) --version 2>&1 || echo not there`."; \
	  echo "Install a newer one, or name it: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its venv or ensurepip module is missing."; \
	  echo "On Debian and Ubuntu: apt-get install python3-venv (or python3.11-venv). Then run make again."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing gossipbook and its tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $(STAMP)

demo: $(STAMP)  ## watch peers trade through a partition, a kill and a cheat, and end up equal
	@$(BIN)/gossipbook demo

test: $(STAMP)  ## all tests (three processes; some minutes, partly waiting for real time)
	$(BIN)/python -m pytest -q -n 3 --dist worksteal

check: $(STAMP)  ## ruff, mypy --strict and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## a small form of every benchmark
	$(BIN)/python -m bench --small

docs: $(VENV)/.docs-installed  ## the documentation with API reference, in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

$(VENV)/.docs-installed: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

soak: $(STAMP)  ## fault schedules by the hour; resumable (SOAK_HOURS=1)
	$(BIN)/python -m tests.soak --hours $(or $(SOAK_HOURS),1)

soak-crash: $(STAMP)  ## kill a submitting peer, over and over; resumable (CRASH_KILLS=1000 CRASH_SCRIPTS=)
	$(BIN)/python -m tests.crash.soak --kills $(or $(CRASH_KILLS),1000) $(if $(CRASH_SCRIPTS),--scripts)

soak-network: $(STAMP)  ## five peer processes through a faulty proxy (NETWORK_MINUTES=10)
	$(BIN)/python -m tests.network.soak --minutes $(or $(NETWORK_MINUTES),10)

fuzz: $(VENV)/.fuzz-installed  ## coverage-guided fuzzing of everything that reads bytes; resumable (FUZZ_INPUTS=1000000)
	$(BIN)/python -m tests.fuzz --target $(or $(FUZZ_TARGET),all) --inputs $(or $(FUZZ_INPUTS),1000000) --corpus .fuzz

$(VENV)/.fuzz-installed: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
