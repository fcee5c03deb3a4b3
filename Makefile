# Everything a developer or an operator of a source tree does. `make help` lists it.
#
# Plain enough for GNU make 3.81, which is what macOS has.
# The stamps lie inside the environment, so that removing it removes them too.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --require-hashes
PYTEST := $(BIN)/python -m pytest
SERVER := $(VENV)/.server-is-installed
DEV    := $(VENV)/.dev-is-installed
SIM    := tests/context/test_simulation.py tests/sim tests/stream/test_simulation.py

.PHONY: help setup serve test check fix sim fuzz acceptance bench docs lock

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20
	@echo "ARGS='…' is passed on to serve, test, sim, fuzz, acceptance and bench."

setup: $(DEV) ## install everything that development needs into .venv

serve: $(SERVER) ## start a node on 127.0.0.1:4000 (installs only what the server needs)
	@exec $(BIN)/fastpaca serve $(ARGS)

test: $(DEV) ## run the tests
	$(PYTEST) -n auto --dist worksteal $(ARGS)

check: $(DEV) ## check format, lint, types, the direction of imports and the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/mkdocs build --strict
	@if [ -d tests/docs ]; then set -x; $(PYTEST) --quiet tests/docs; fi

fix: $(DEV) ## put right what format and lint can put right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sim: $(DEV) ## simulate random histories, failures and followers (SEED=…, RUNS=…)
	$(PYTEST) --timeout=0 $(SIM) $(if $(SEED),--seed=$(SEED)) $(if $(RUNS),--runs=$(RUNS)) $(ARGS)

fuzz: $(DEV) ## attack the API with random input (SEED=…, RUNS=…)
	$(PYTEST) -n auto --dist worksteal --timeout=0 tests/fuzz $(if $(SEED),--seed=$(SEED)) $(if $(RUNS),--runs=$(RUNS)) $(ARGS)

acceptance: $(DEV) ## replay all the real conversations against a running node
	$(BIN)/python -m tests.acceptance $(ARGS)

bench: $(DEV) ## measure
	$(BIN)/python -m bench $(ARGS)

docs: $(DEV) ## build the documentation into site/
	$(BIN)/mkdocs build --strict

lock: ## resolve the pinned requirements anew (needs uv; ARGS=--upgrade for newer releases)
	scripts/lock.sh $(ARGS)

$(BIN)/python:
	@scripts/venv.sh $(VENV)

$(SERVER): requirements/build.txt requirements/server.txt pyproject.toml | $(BIN)/python
	@echo "fastpaca: installing what the server needs (requirements/server.txt)"
	@$(PIP) -r requirements/build.txt -r requirements/server.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt $(SERVER)
	@echo "fastpaca: installing what tests and checks need (requirements/dev.txt)"
	@$(PIP) -r requirements/dev.txt
	@touch $@
