# make demo   set up .venv and run the main job on the bundled sample
# make test   set up .venv and run all tests (make test PYTEST_OPTIONS=… for other options of pytest)
# Both take PYTHON=… (3.11 or newer) and VENV=… (default .venv).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# PyTorch's own index of CPU builds, asked where no GPU is seen and the configured indexes have none.
TORCH_CPU ?= torch==2.13.0+cpu
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Two processes, each with whole files, so that what a file's tests share is built once.
PYTEST_OPTIONS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-integration setup lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready
	$(BIN)/python -m pyserini_xqg.activate
	$(BIN)/python -m pyserini_xqg.demo --output demo

test: $(VENV)/.ready-test
	$(BIN)/python -m pyserini_xqg.activate
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

test-integration: $(VENV)/.ready-test
	$(BIN)/python -m pyserini_xqg.activate
	$(BIN)/python -m pytest -m integration $(PYTEST_OPTIONS)

setup: $(VENV)/.ready-test

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is `$(PYTHON) -V 2>&1`, and 3.11 or newer is needed. Run: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	@if [ "`uname -s`" != Linux ] || command -v nvidia-smi >/dev/null 2>&1 || [ -e /proc/driver/nvidia/version ]; then \
	  echo "torch: the standard build"; \
	elif $(PIP) install --quiet '$(TORCH_CPU)' 2>/dev/null || \
	  $(PIP) --retries 1 --timeout 15 install --quiet '$(TORCH_CPU)' --extra-index-url $(TORCH_CPU_INDEX) 2>/dev/null; then \
	  echo "torch: the CPU build (no GPU seen)"; \
	else \
	  echo "torch: the standard build (no CPU build to be had; it brings several GB of CUDA libraries)"; \
	fi
	@touch $@

$(VENV)/.ready: setup.cfg pyproject.toml $(VENV)/.torch
	$(PIP) install --quiet -e '.[java]'
	@# The official R@kt tokenises with this data; without it the scores are marked.
	@$(BIN)/python -m nltk.downloader -q -d $(VENV)/nltk_data punkt_tab >/dev/null 2>&1 || true
	@$(BIN)/python -c 'import nltk; nltk.data.find("tokenizers/punkt_tab")' 2>/dev/null || \
	  echo "NLTK's punkt_tab data cannot be downloaded here: R@kt will be marked as computed without it"
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(PIP) install --quiet -e '.[java,test]'
	@touch $@

clean:
	rm -rf demo $(VENV) build *.egg-info
