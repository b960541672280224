# make demo: from nothing to a first map of a synthetic city.   make test: what every change must pass, in minutes.
# make test-long: what takes longer and covers the same kinds end to end.   make docs: the documentation in build/docs.
# LOCKED=1 installs the very files that requirements.lock names by hash, rather than the newest that fit.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
LOCKED ?=
INSTALLED := .venv/installed$(if $(LOCKED),-locked)
UV := .venv-uv/bin/uv
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal
export NO_ALBUMENTATIONS_UPDATE := 1
export NO_MKDOCS_2_WARNING := 1
# Compiled modules and rewritten assertions are kept, whatever the shell says: the next command need not make them anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-long test-lowest lint docs types lock install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml $(if $(LOCKED),requirements.lock)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
ifeq ($(LOCKED),)
	$(PIP) --editable '.[dev]'
else
	$(PIP) --require-hashes --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
endif
	@touch $@

demo: install
	$(BIN)/python -m mobanet.synthesize --layout potsdam --root demo/city --tiles 12 --size 512 --seed 7
	$(BIN)/python -m mobanet.fit --experiment synthetic_irrgb_dsm --run demo/run --wandb off
	$(BIN)/python -m mobanet.test --ckpt_path demo/run/checkpoints/best.ckpt
	$(BIN)/python -m mobanet.report demo/run
	@echo "The picture is demo/run/test/predictions.png, the figures are in demo/run/test/test.csv, and all of it in demo/run/report.html."
	@echo "To go on: source .venv/bin/activate, then python -m mobanet lists what there is."

# The two that take long beside each other, one's output after the other's where make can (4.0 and newer).
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --keep-going --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) docs types

# A site that needs no network to be read; a link that leads nowhere or a docstring that does not fit is an error
# (with --quiet it would not be counted).
docs: install
	$(BIN)/mkdocs build --strict

# Strict; what it leaves out stands in pyproject.toml.
types: install
	$(BIN)/mypy

test: lint
	$(PYTEST) -m 'not long'

test-long: install
	$(PYTEST) -m long

# Whether the lower bounds in pyproject.toml hold: the suite with the lowest versions that they allow.
test-lowest: BIN := .venv-lowest/bin
test-lowest: .venv-lowest/installed
	$(PYTEST)

.venv-lowest/installed: pyproject.toml | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-lowest
	$(UV) pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[dev]'
	@touch $@

# Writes requirements.lock anew, for every system and Python from 3.11 on. UV_CONSTRAINT=FILE holds versions back.
lock: $(UV)
	printf 'hatchling>=1.25\neditables\n' | $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --extra dev --output-file requirements.lock pyproject.toml -

$(UV):
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install --quiet --disable-pip-version-check uv

clean:
	rm -rf build demo runs .mypy_cache .pytest_cache .ruff_cache
