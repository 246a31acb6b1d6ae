# Each target sets up what it needs in .venv and then does its job; a second call takes seconds.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VIEWERS := .venv-viewers
SPATIAL := .venv-spatial
INSTALL := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs wheel-test viewers-test spatial-test clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo: $(VENV)/.core ## scan a photograph with a real network, verify the map, write it to fullfield-demo/
	@$(BIN)/fullfield demo

# One process a core and one thread a process: several threads on a busy machine only wait for each other.
# Processes that tests start read compiled modules, which the first one writes.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist worksteal
# These alone cover the layers that the gate in pyproject.toml names; traced, a test takes two thirds more time.
GATED := tests/geometry tests/planning tests/model/test_preprocessing.py tests/test_arguments.py tests/test_errors.py \
    tests/test_text.py tests/engine/engines/test_predicted_parts.py tests/lower/test_upsampling.py src/fullfield/arguments.py \
    src/fullfield/errors.py src/fullfield/text.py src/fullfield/geometry src/fullfield/planning src/fullfield/model/preprocessing.py

test: $(VENV)/.test ## all tests but the slow ones, with the coverage gate
	@$(PYTEST) $(GATED) --cov
	@$(PYTEST) $(addprefix --ignore=,$(GATED))

lint: $(VENV)/.lint ## format, lint, types, import direction
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.lint ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.docs ## the documentation, in docs/_build/html; a warning is an error
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

wheel-test: $(VENV)/.test ## build the wheel and use it in an empty environment; takes minutes
	@$(BIN)/python -m pytest -m slow tests/test_wheel.py

viewers-test: $(VIEWERS)/.done ## stored maps in napari and against the JSON schemas of OME-Zarr; takes minutes the first time
	@PYTHONPATH=src PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(VIEWERS)/bin/python -m pytest -m slow --noconftest tests/store/test_viewers.py tests/handover/test_napari.py

spatial-test: $(SPATIAL)/.done ## scores and segments in SpatialData; takes minutes the first time
	@PYTHONPATH=src PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(SPATIAL)/bin/python -m pytest -m slow --noconftest tests/handover/test_spatialdata.py

clean: ## remove .venv and everything built
	rm -rf $(VENV) $(VIEWERS) $(SPATIAL) build dist fullfield-demo docs/_build .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# torch goes in first and by itself, so that its pin alone decides which build is taken.
# hatchling is installed from the constraints, hence no build isolation.
$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fullfield needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Setting up $(VENV) (minutes the first time: torch is large)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) pip
	@$(INSTALL) torch
	@$(INSTALL) --group build
	@$(INSTALL) --no-build-isolation --editable '.[all]'
	@touch $@

# timm without torchvision, which it asks for: the published one does not import next to the CPU build of torch.
$(VENV)/.%: $(VENV)/.core
	@echo "Setting up $(VENV) for $*"
	@$(INSTALL) --group $*
	@$(INSTALL) --no-deps timm
	@touch $@

$(VIEWERS)/.done: pyproject.toml constraints.txt
	@echo "Setting up $(VIEWERS)"
	@test -x $(VIEWERS)/bin/python || $(PYTHON) -m venv $(VIEWERS)
	@$(VIEWERS)/bin/python -m pip --quiet --quiet --disable-pip-version-check install --constraint constraints.txt pip
	@$(VIEWERS)/bin/python -m pip --quiet --quiet --disable-pip-version-check install --constraint constraints.txt --group viewers
	@touch $@

$(SPATIAL)/.done: pyproject.toml
	@echo "Setting up $(SPATIAL)"
	@test -x $(SPATIAL)/bin/python || $(PYTHON) -m venv $(SPATIAL)
	@$(SPATIAL)/bin/python -m pip --quiet --quiet --disable-pip-version-check install --constraint constraints.txt pip
	@$(SPATIAL)/bin/python -m pip --quiet --quiet --disable-pip-version-check install --group spatial
	@touch $@
