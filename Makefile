# The two commands to know: `make demo` and `make test`. Each makes its own .venv first.
# `make help` lists the others.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# make demo DATA=cifar10: which images the demo learns (digits, cifar10)
DATA ?= digits
DEMO_ARGS ?=
# make test JOBS=8 TEST_ARGS="-k learner"
JOBS ?= 2
TEST_ARGS ?=
# make doc DOC_ARGS="-D plot_gallery=0": the pages without running the examples
DOC_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format imports doc dist smoke bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## make .venv with the pinned requirements and this package, editable

$(INSTALLED): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "skbait needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned requirements into $(VENV) (once; torch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## BAIT against random choice on digits (DATA=cifar10: on CIFAR-10), drawn to demo.png
	@$(BIN)/python examples/demo.py --data $(DATA) $(DEMO_ARGS)

test: $(INSTALLED) ## all tests and doctests
	$(BIN)/python -m pytest -n $(JOBS) $(TEST_ARGS)

lint: $(INSTALLED) imports ## ruff's rules and format, and the direction of the imports
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

imports: $(INSTALLED)
	$(BIN)/python tests/test_imports.py

format: $(INSTALLED) ## let ruff rewrite what it can
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

doc: $(INSTALLED) ## the documentation, to doc/_build/html; the examples find CIFAR-10 by SKBAIT_DATA
	$(BIN)/python -m sphinx -b html -d doc/_build/doctrees -W --keep-going \
	  $(DOC_ARGS) doc doc/_build/html

dist: $(INSTALLED) ## build the sdist, and the wheel from it, into dist/
	@rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist .

smoke: dist ## install the built wheel into an empty environment and use it there
	tools/smoke-wheel $(BIN)/python dist/*.whl

bench: $(INSTALLED) ## the benchmarks (see benchmarks/README.md)
	$(BIN)/python -m benchmarks

clean: ## remove what is built, drawn and cached; keep .venv
	rm -rf build dist demo*.png .pytest_cache .ruff_cache .hypothesis *.egg-info
	rm -rf doc/_build doc/auto_examples doc/sg_execution_times.rst
	rm -rf doc/api/*.rst doc/api/generated doc/api/backreferences
	find skbait tests examples benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +
