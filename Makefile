# Everything runs in a local virtual environment that these targets make themselves; nothing outside the clone is touched.
PYTHON ?= python3.11
ifeq ($(shell command -v $(PYTHON)),)
PYTHON := python3
endif
VENV := .venv
BIN := $(VENV)/bin
# More processes than cores: tests of processes mostly wait for them.
PYTEST ?= $(BIN)/python -m pytest -n 4

.PHONY: help demo test lint format types unit lowest matrix snapshots bench bench-valkey bench-looking bench-turns bench-workers bench-celery bench-dashboard fuzz chaos chaos-workers chaos-valkey soak greedy docs screenshots clean
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	@touch $@

demo: $(VENV)/.base  ## start a node and watch producers and workers use it
	$(BIN)/pydisque demo

test: lint types docs unit  ## everything that must pass

lint: $(VENV)/.dev  ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy strict, and pyright on the public API
	$(BIN)/mypy
	$(BIN)/pyright

unit: $(VENV)/.dev  ## the tests alone
	$(PYTEST)

# Environments beside .venv, made by uv: the lowest versions that pyproject.toml allows, and the newest on other Pythons.
# Pythons that are not installed, by pyenv or in the PATH, are left out.
MATRIX := .venv-matrix
UV := $(MATRIX)/uv/bin/uv
TESTED := $(foreach extra,celery dashboard django metrics otel reload test valkey,--extra $(extra))
python_of = $(firstword $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python) $(shell command -v python$(1)))
OTHERS := $(foreach version,3.12 3.13 3.14,$(if $(call python_of,$(version)),$(version)))

$(UV):
	$(PYTHON) -m venv $(MATRIX)/uv
	$(MATRIX)/uv/bin/python -m pip install --quiet uv
	@touch $@

$(MATRIX)/lowest/.made: pyproject.toml $(UV)
	$(UV) venv --quiet --clear --python "$$(command -v $(PYTHON))" $(@D)
	$(UV) pip install --quiet --python $(@D) --resolution lowest-direct $(TESTED) --requirements pyproject.toml
	$(UV) pip install --quiet --python $(@D) --no-deps --editable .
	@touch $@

$(MATRIX)/%/.made: pyproject.toml $(UV)
	$(UV) venv --quiet --clear --python $(call python_of,$*) $(@D)
	$(UV) pip install --quiet --python $(@D) $(TESTED) --requirements pyproject.toml
	$(UV) pip install --quiet --python $(@D) --no-deps --editable .
	@touch $@

lowest: $(MATRIX)/lowest/.made  ## the tests with the lowest versions of all dependencies; OPTIONS="-n 2 tests/unit"
	$(MATRIX)/lowest/bin/python -m pytest -n 4 $(OPTIONS)

matrix: lowest $(OTHERS:%=matrix-%)  ## lowest, and the tests on the Pythons from 3.12 that are installed; OPTIONS likewise

matrix-%: $(MATRIX)/%/.made
	$(MATRIX)/$*/bin/python -m pytest -n 4 $(OPTIONS)

snapshots: $(VENV)/.dev  ## what the commands write, written down anew in tests/snapshots after a change that is meant
	PYDISQUE_TEST_SNAPSHOTS=write $(BIN)/python -m pytest -q tests/integration/test_cli_snapshots.py

bench: $(VENV)/.base  ## cost of the client, throughput of the node; SERVERS="HOST:PORT ..." beside it
	$(BIN)/python benchmarks/bench.py $(SERVERS)

bench-valkey: $(VENV)/.dev  ## nodes on Valkey beside embedded ones, Valkey's CPU, growth; OPTIONS="--rounds N --many N"
	$(BIN)/python benchmarks/on_valkey.py $(OPTIONS)

bench-looking: $(VENV)/.base  ## what top, queues and stats take of a node with a million jobs; OPTIONS="--queues N --jobs N"
	$(BIN)/python benchmarks/looking.py $(OPTIONS)

bench-turns: $(VENV)/.dev  ## PING of a client beside hostile ones of 30 kinds; OPTIONS="--store S --seconds N --only KIND,..."
	$(BIN)/python benchmarks/turns.py $(OPTIONS)

# Three environments, as no version of redis-py suits all of them.
RIVALS := .venv-rivals
$(RIVALS)/.%: benchmarks/rivals/requirements-%.txt
	$(PYTHON) -m venv $(RIVALS)/$*
	$(RIVALS)/$*/bin/python -m pip install --quiet --requirement $<
	@touch $@

bench-workers: $(VENV)/.base $(RIVALS)/.main $(RIVALS)/.arq $(RIVALS)/.saq  ## our worker beside RQ, Celery and others; OPTIONS="--only NAME,... --rounds N --json"
	$(BIN)/python benchmarks/workers.py $(OPTIONS)

bench-celery: $(VENV)/.dev $(RIVALS)/.main  ## Celery on our node beside Celery on Valkey; OPTIONS="--only VARIANT,... --rounds N"
	$(BIN)/python benchmarks/celery_brokers.py $(OPTIONS)

fuzz: $(VENV)/.dev  ## a million random and mutated requests at a node's port
	$(BIN)/python tests/fuzz/fuzz_node.py

chaos: $(VENV)/.dev  ## 200 kills of a working node; OPTIONS="--kills N --seed N --durability D --plug --faults"
	$(BIN)/python tests/harness/chaos/chaos.py $(OPTIONS)

chaos-workers: $(VENV)/.dev  ## 100 deaths of workers at work; OPTIONS="--deaths N --seed N --executor E --modes M,M --nodes N"
	$(BIN)/python tests/harness/chaos/workers.py $(OPTIONS)

chaos-valkey: $(VENV)/.dev  ## 50 faults of nodes and their Valkey; OPTIONS="--faults N --seed N --topology sentinel|cluster --priorities 100,100 --replicate N"
	$(BIN)/python tests/harness/chaos/failovers.py $(OPTIONS)

soak: $(VENV)/.dev  ## a worker under steady load, watched; OPTIONS="--minutes N --rate N --executor E --json FILE"
	$(BIN)/python tests/harness/soak/soak.py $(OPTIONS)

greedy: $(VENV)/.dev  ## greedy clients beside an honest one on each store: memory, ADDJOB; OPTIONS="--stores S,S --loads L;L --clients N"
	$(BIN)/python tests/harness/soak/greedy.py $(OPTIONS)

$(VENV)/.docs: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs  ## the documentation as a site, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screenshots: $(VENV)/.dev  ## pictures of the dashboard for its page in the docs; needs Debian's chromium
	$(BIN)/python docs/screenshots.py

bench-dashboard: $(VENV)/.dev  ## how soon its pages are seen, and what they cost a node; OPTIONS="--queues N --jobs N"
	$(BIN)/python benchmarks/dashboard.py $(OPTIONS)

format: $(VENV)/.dev  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(RIVALS) $(MATRIX) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
