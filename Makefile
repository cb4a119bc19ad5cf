# Each target sets up all that it needs in .venv, on the first run; afterwards it starts at once.
# Other Python: make test PYTHON=python3.12      Options of pytest: make test ARGS="-k softmax"

VENV = .venv
RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --disable-pip-version-check
PYTHONS = $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10 python)
TEST_TOOLS = pytest pytest-xdist hypothesis 'setuptools>=77'
LINT_TOOLS = 'ruff==0.17.*' 'mypy==2.4.*'
ARGS =

.PHONY: help demo test test-parity lessons lesson test-lessons lint docs mutants bench test-gpu bench-gpu clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

# The matrices are small: BLAS's own threads gain little, and lose much when the machine is busy.
demo: $(VENV)/for-demo ## a mini BERT learns from real text, about 3 minutes: curves, tables and a report in runs/demo
	OPENBLAS_NUM_THREADS=1 $(RUN) examples/demo.py --out runs/demo $(ARGS)

test: $(VENV)/for-test ## the tests (ARGS="-n 2": two at a time); without PyTorch those that compare with it are skipped
	$(RUN) -m pytest -m "not gpu" $(ARGS)

test-parity: $(VENV)/for-parity ## installs PyTorch; the tests that compare with it
	$(RUN) -m pytest -m "parity and not gpu" $(ARGS)

lessons: $(VENV)/for-lessons ## builds the notebooks that are older than their sources, and the atlas; ARGS=--all, ARGS="04 05"
	$(RUN) -m lessons.machinery $(ARGS)

# The copy in lessons/mine is the learner's own: nothing overwrites it.
lesson: $(VENV)/for-lessons ## opens a lesson in Jupyter: make lesson N=05
	@file=$$(ls lessons/$(or $(N),00)_*.ipynb 2>/dev/null) || { \
	    echo "No lesson $(N). There are:" >&2; ls lessons | grep ipynb >&2; exit 1; }; \
	mkdir -p lessons/mine && cp -n $$file lessons/mine/; \
	$(RUN) -m jupyter lab lessons/mine/$$(basename $$file) $(ARGS)

test-lessons: $(VENV)/for-lessons ## every notebook, solved and learner's, two at a time
	$(RUN) -m pytest lessons -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/for-lint ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m mypy

docs: $(VENV)/for-test ## writes docs/ops.md, the list of all operations, from the code
	$(RUN) -m docs.make_ops

# With PyTorch, because only the comparison with it says that a forward pass is wrong; gradients need no oracle.
mutants: $(VENV)/for-parity ## do the tests notice? every op made wrong in many small ways; ARGS="--family softmax --sample 100"
	$(RUN) -m tests.mutants $(ARGS)

# It sets the threads itself, two for each library; a quiet machine is the caller's care.
bench: $(VENV)/for-parity ## beside PyTorch, in one run: times, ratios, memory; ARGS="--only bert,gpt --seconds 10 --compile --out runs/bench"
	$(RUN) -m benchmarks $(ARGS)

# Where the GPU is, CuPy and PyTorch are the machine's own: these two use its python3, and install nothing.
test-gpu: ## on a GPU: the op table on CuPy, the kernels, graphs, training as on the CPU; a table in tests/gpu/results.md
	$(firstword $(PYTHONS)) -m tests.gpu $(ARGS)

bench-gpu: ## on a GPU: beside PyTorch, plain and as CUDA graphs; a table in benchmarks/gpu.md
	$(firstword $(PYTHONS)) -m benchmarks.gpu $(ARGS)

clean: ## removes .venv and all caches; results in runs/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: a stamp for each purpose, renewed when setup.cfg changes -------------------------------------------------

$(VENV)/for-demo: EXTRAS = fast,examples
$(VENV)/for-test: EXTRAS = fast,examples,tensorboard,nvrtc
$(VENV)/for-test: TOOLS = $(TEST_TOOLS)
$(VENV)/for-parity: EXTRAS = fast,examples,tensorboard,parity
$(VENV)/for-parity: TOOLS = $(TEST_TOOLS)
$(VENV)/for-lessons: EXTRAS = fast,lessons
$(VENV)/for-lessons: TOOLS = pytest pytest-xdist
$(VENV)/for-lint: EXTRAS = fast
$(VENV)/for-lint: TOOLS = $(LINT_TOOLS)

$(VENV)/for-%: $(VENV)/pyvenv.cfg setup.cfg pyproject.toml
	$(PIP) --editable '.[$(EXTRAS)]' $(TOOLS)
	@touch $@

$(VENV)/pyvenv.cfg:
	@for python in $(PYTHONS); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$python"; \
	        $$python -m venv --clear --upgrade-deps $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "$$python could not make $(VENV): see above (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; \
	    fi; \
	done; \
	echo "minitorch needs Python 3.10 or newer, and found none of: $(PYTHONS)" >&2; \
	echo "Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1
