# make demo: from nothing to a first map of a synthetic city.   make test: everything that CI checks.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: demo test lint install clean

install: .venv/installed

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/python -m mobanet.synthesize --layout potsdam --root demo/city --tiles 12 --size 512 --seed 7
	$(BIN)/python -m mobanet.fit --experiment synthetic_irrgb_dsm --run demo/run --wandb off
	$(BIN)/python -m mobanet.test --ckpt_path demo/run/checkpoints/best.ckpt
	$(BIN)/python -m mobanet.report demo/run
	@echo "The picture is demo/run/test/predictions.png, the figures are in demo/run/test/test.csv, and all of it in demo/run/report.html."
	@echo "To go on: source .venv/bin/activate, then python -m mobanet lists what there is."

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf demo runs .pytest_cache .ruff_cache
