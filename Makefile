# Every entry point of the project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
KAFKA_JARS := config/kafka/jars
# Kafka's jars come from Maven Central; this names a mirror with its layout.
MAVEN_REPOSITORY ?=
# Names what the machine lacks, or as root on Debian installs it.
MACHINE := PYTHON="$(PYTHON)" tests/support/machine.sh
RESOLVED_JARS := build/kafka
LINTED_LUA := build/lua
UV ?= uv
TEST_WORKERS ?= 2

.PHONY: help setup kafka-jars demo machine test check lint types luacheck docs reference bench load chaos screenshots lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) kafka-jars ## Make .venv with everything the project, its tests and its benchmarks need

$(STAMP): requirements.lock pyproject.toml
	@echo "setup: virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "setup: $(PYTHON) is older than 3.11; run make with PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "setup: $(PYTHON) has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "setup: packages from requirements.lock"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "setup: dropgate itself"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

kafka-jars: $(STAMP) ## Fetch the Kafka broker's jars; MAVEN_REPOSITORY names a mirror
	@$(BIN)/python -m config.stack.kafka_jars $(if $(MAVEN_REPOSITORY),--repository "$(MAVEN_REPOSITORY)")

# Ctrl-C must reach the demo and not make, which would end by it whatever the demo's status is.
demo: $(STAMP) $(if $(filter kafka,$(EVENT_LOG)),kafka-jars) ## Run simulated drops on the embedded stack; ONCE=1 ends after the verdicts, EVENT_LOG=kafka adds Kafka
	@$(BIN)/python -m config.stack.foreground \
		$(BIN)/dropgate demo $(if $(ONCE),--once) $(if $(EVENT_LOG),--event-log $(EVENT_LOG)) $(DEMO_ARGS)

machine: ## Name what the tests need and the machine lacks; as root on Debian install it
	@$(MACHINE)

test: machine ## Set up from nothing, check, and run all tests on real servers
	@$(MAKE) --no-print-directory setup check
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) $(PYTEST_ARGS)

check: luacheck lint types docs ## Lint, formatting, types, Lua, import rules, documentation

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q tests/unit/test_imports.py

types: $(STAMP)
	@$(BIN)/mypy

luacheck: $(STAMP)
	@$(MACHINE) luacheck
	@rm -rf $(LINTED_LUA) && $(BIN)/python -m lua.assemble $(LINTED_LUA)
	@luacheck -q $(LINTED_LUA)

docs: $(STAMP) ## Build the documentation as a site in build/site; a warning is an error
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs build/site

reference: $(STAMP) ## Write the generated tables of docs/reference: settings, commands
	@$(BIN)/python -m config.reference

bench: setup ## Side-by-side benchmarks
	@$(BIN)/python -m loadtest.bench $(BENCH_ARGS)

load: setup ## A load scenario on a stack of its own: SCENARIO=drop, LOAD_ARGS="--stock 500 --rate 200"
	@$(BIN)/dropgate loadtest $(or $(SCENARIO),drop) --up $(LOAD_ARGS)

# With SEED or MINUTES only the random mix, and what it does is shown. In long runs of even seeds Redis
# has replicas, Postgres has a standby, and both fail over; REDIS=watched or REDIS=single decides
# otherwise. With LEDGER=older the ledger also comes back without its end.
chaos: setup ## Faults under load; SEED=7 MINUTES=10 for a long random mix, EVENT_LOG=kafka with Kafka
	@DROPGATE_TEST_SEED=$(SEED) DROPGATE_TEST_MINUTES=$(MINUTES) \
		DROPGATE_TEST_EVENT_LOG=$(EVENT_LOG) DROPGATE_TEST_REDIS=$(REDIS) \
		DROPGATE_TEST_LEDGER=$(LEDGER) \
		$(BIN)/python -m pytest $(if $(SEED)$(MINUTES),-s tests/chaos/test_random.py,tests/chaos) $(PYTEST_ARGS)

screenshots: setup ## Take the pictures of docs/images again (needs Chromium)
	@$(BIN)/python -m tests.browser.screenshots

lock: ## Renew requirements.lock, the image's part of it, and the list of Kafka's jars (needs uv and Maven)
	@$(UV) pip compile pyproject.toml --all-extras --generate-hashes --python-version 3.11 --upgrade \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -q -o requirements.lock
	@$(UV) pip compile pyproject.toml --extra otel -c requirements.lock --generate-hashes --python-version 3.11 \
		--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -q \
		-o config/container/requirements.lock
	@rm -rf $(RESOLVED_JARS)
	@mvn -q -B -ntp -Dstyle.color=never -f config/kafka/pom.xml dependency:copy-dependencies \
		-Dmdep.useRepositoryLayout=true -DoutputDirectory=$(CURDIR)/$(RESOLVED_JARS)
	@$(PYTHON) -m config.stack.kafka_jars --lock $(RESOLVED_JARS)

clean: ## Remove what set-up and tools made
	@rm -rf $(VENV) $(KAFKA_JARS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
