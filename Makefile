# `make demo` and `make test` need nothing but Python 3.11 or later; both keep to this folder.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo studio test lint clean

demo: .venv/ready
	$(BIN)/python holocine_generate_video.py --model nano --storyboard examples/nano_three_shots.toml --save_path out/demo.mp4 --overwrite

studio: .venv/ready-studio
	$(BIN)/python holocine_studio.py out/film

test: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4

lint: .venv/ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# PyTorch first and alone: what follows then takes the build that is there.
.venv/ready: pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

.venv/ready-studio: .venv/ready
	$(BIN)/pip install --quiet -e ".[studio]"
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/pip install --quiet -e ".[dev]"
	touch $@

clean:
	rm -rf .venv out
