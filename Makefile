# make run    the whole service on this machine     make demo   the same with a newsroom at work
# make test   every test                             make check  format, lint, types
# make bench  the figures, half an hour; ARGS=embargo is one of them, ARGS=--help names them
# make peers  npm's packages that the figures stand beside
# make lock   renew the locked versions
# make pictures   the README's pictures of the desk, taken anew
# make faults a campaign of faults: ARGS="--seconds 600 --seed 1"
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: run demo test check format lock clean bench peers faults pictures
run: $(VENV)/.run
	@exec $(BIN)/stoppress up

demo: $(VENV)/.run
	@exec $(BIN)/stoppress demo

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: $(VENV)/.bench
	@$(BIN)/python -m bench $(ARGS)

# Versions are locked; what else the peers need, bench/README.md says.
peers:
	@cd bench/peers/node && npm ci --ignore-scripts --no-audit --no-fund

faults: $(VENV)/.dev
	@$(BIN)/python -m tests.faults $(ARGS)

pictures: $(VENV)/.dev
	@$(BIN)/python -m docs.pictures

# Hashes for every file, so that a tampered or swapped package cannot be installed.
lock: $(VENV)/.dev
	@$(PIP) uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --group build -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -c requirements.txt pyproject.toml --group build --group dev -o requirements-dev.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -c requirements-dev.txt pyproject.toml --group build --group dev --group bench -o requirements-bench.txt

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stoppress needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which one to use: make run PYTHON=python3.12")'
	@echo "Setting up $(VENV) (once)…"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python requirements.txt pyproject.toml
	@echo "Installing the locked packages…"
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@echo "Installing what the tests need…"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements-bench.txt
	@echo "Installing what the figures need…"
	@$(PIP) --require-hashes -r requirements-bench.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
