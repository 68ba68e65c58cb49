# `make demo`, `make test` and `make lint` set up everything that they need, in .venv.
# Python: python3 if it is 3.11 or newer, else a newer one beside it; or make PYTHON=/path/to/it.

PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TF_VENV := .venv-tensorflow
TF_READY := $(TF_VENV)/ready
BENCH_VENV := .venv-bench
BENCH_READY := $(BENCH_VENV)/ready
DOCS_VENV := .venv-docs
DOCS_READY := $(DOCS_VENV)/ready
INTEROP_VENV := .venv-interop
INTEROP_READY := $(INTEROP_VENV)/ready
# Not in the lock: that would be the wheel with CUDA and its libraries, several GB. Where pip's
# configuration knows 2.13.0+cpu, which sorts above 2.13.0, that is taken.
TORCH := torch==2.13.0
UV_VENV := build/uv
# Processes that run the tests: most of them wait for others' processes.
TESTS_AT_ONCE := 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help demo compare bench bench-sizing test test-slow test-sklearn test-differential test-faults \
    test-security test-benchmarks test-kubernetes test-tensorflow test-interop docs lint format \
    requirements clean
.DELETE_ON_ERROR:

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## run the seed workload: forecast, run, learn, forecast again
	@$(BIN)/fitcast demo

compare: $(READY) ## the same, beside GridSearchCV(n_jobs=-1)
	@$(BIN)/fitcast demo --compare

bench: $(BENCH_READY) ## run real workloads beside what people use now (docs/benchmarks.md)
	@mkdir -p build
	@$(BENCH_VENV)/bin/python -m benchmarks.bench --json build/bench.json

bench-sizing: $(READY) ## judge the forecasts on measured fits, beside others (docs/benchmarks.md)
	@mkdir -p build
	@$(BIN)/python -m benchmarks.bench_sizing --json build/bench-sizing.json

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist loadgroup \
	    -m "not slow and not tensorflow and not kubernetes and not sklearn_suite \
	    and not interop"

test-slow: $(READY) ## run those that take longer, of everything: about a quarter of an hour
	@$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist loadgroup \
	    -m "slow and not tensorflow and not kubernetes and not sklearn_suite and not interop"

test-sklearn: $(READY) ## run scikit-learn's own tests of its searches on ours: about ten minutes
	@$(BIN)/python -m pytest -m sklearn_suite -rs tests/sklearn_suite

test-faults: $(READY) ## kill and stop processes of running sweeps 200 times: about ten minutes
	@mkdir -p build
	@$(BIN)/python -m tests.fault.long_run --kills 200 --minutes 12 --json build/test-faults.json

test-durable: $(READY) ## kill clients of workflows that are gone on with 200 times: about half an hour
	@$(BIN)/python -m tests.fault.durable_kills --kills 200 --minutes 60

test-benchmarks: $(READY) ## run every benchmark once on small data: two minutes
	@$(BIN)/python -m pytest -m slow tests/benchmarks

# What needs another local user runs as root only, and says so otherwise.
test-security: $(READY) ## try what protects users from one another and from hostile fits
	@$(BIN)/python -m pytest -m "security and not kubernetes" -rs

# On the cluster that KUBECONFIG leads to if FITCAST_IMAGE names an image that its nodes have, in the
# namespace FITCAST_NAMESPACE; what `make test` runs on an emulated one, too. Else on an emulated one.
test-kubernetes: $(READY) ## run the suite of backends, and sweeps through faults, on Kubernetes
	@$(BIN)/python -m pytest -m kubernetes tests/contract tests/kubernetes
	@if [ -n "$$FITCAST_IMAGE" ]; then $(BIN)/python -m pytest tests/kubernetes; fi

test-differential: $(READY) ## compare 10,000 drawn sweeps with GridSearchCV: minutes
	@FITCAST_DIFFERENTIAL=10000 $(BIN)/python -m pytest tests/trainer/sweep/test_differential.py

test-tensorflow: $(TF_READY) ## run a sweep of Keras models, in a virtual environment of its own
	@$(TF_VENV)/bin/python -m pytest -m tensorflow

test-interop: $(INTEROP_READY) ## try CatBoost, skorch, imbalanced-learn, polars, scikit-survival: minutes
	@$(INTEROP_VENV)/bin/python -m pytest -m interop -rsP tests/interop

# Any warning is an error: a dead link or anchor, a docstring that can't be read, a notebook that
# fails, a page that would load something from the network. FITCAST_HOME: for the notebooks.
docs: $(DOCS_READY) ## make the documentation site, build/docs/index.html
	@rm -rf build/docs build/docs-home
	@FITCAST_HOME=$(CURDIR)/build/docs-home $(DOCS_VENV)/bin/python -m sphinx --quiet \
	    --fail-on-warning --keep-going -c docs -d build/docs-doctrees . build/docs
	@echo "open build/docs/index.html"

lint: $(READY) ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY) ## put files into the form that lint wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Keeps what is pinned; `make requirements UPGRADE=1` takes the newest of everything.
requirements: $(UV_VENV)/bin/uv ## pin the dependencies of pyproject.toml anew
	$(LOCK) --extra dev --output-file requirements.txt pyproject.toml
	$(LOCK) --extra dev --extra tensorflow --constraints requirements.txt \
	    --output-file requirements-tensorflow.txt pyproject.toml
	$(LOCK) --extra dev --extra bench --constraints requirements.txt \
	    --output-file requirements-bench.txt pyproject.toml
	$(LOCK) --extra docs --constraints requirements.txt \
	    --output-file requirements-docs.txt pyproject.toml
	@echo "torch; sys_platform == 'none'" >$(UV_VENV)/no-torch.txt
	$(LOCK) --extra dev --extra interop --constraints requirements.txt \
	    --overrides $(UV_VENV)/no-torch.txt --output-file requirements-interop.txt pyproject.toml
	$(LOCK) --extra image --constraints requirements.txt \
	    --output-file deploy/requirements.txt pyproject.toml

LOCK = $(UV_VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade)

clean: ## remove what was made, virtual environments too
	rm -rf $(VENV) $(TF_VENV) $(BENCH_VENV) $(DOCS_VENV) $(INTEROP_VENV) build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt pyproject.toml | $(BIN)/python
	$(call install,$(VENV),requirements.txt)

$(TF_READY): requirements-tensorflow.txt pyproject.toml | $(TF_VENV)/bin/python
	$(call install,$(TF_VENV),requirements-tensorflow.txt)

$(BENCH_READY): requirements-bench.txt pyproject.toml | $(BENCH_VENV)/bin/python
	$(call install,$(BENCH_VENV),requirements-bench.txt)

$(DOCS_READY): requirements-docs.txt pyproject.toml | $(DOCS_VENV)/bin/python
	$(call install,$(DOCS_VENV),requirements-docs.txt)

$(INTEROP_READY): requirements-interop.txt pyproject.toml | $(INTEROP_VENV)/bin/python
	$(call install,$(INTEROP_VENV),requirements-interop.txt)
	@$(INTEROP_VENV)/bin/python -m pip install --quiet "$(TORCH)"

$(UV_VENV)/bin/uv: | $(UV_VENV)/bin/python
	$(UV_VENV)/bin/python -m pip install --quiet uv

# One package comes as source only. It is built with the pinned build tools, which are therefore
# installed first, not with whatever is newest on the day.
define install
@echo "Installing $(2) into $(1): some minutes the first time ..."
@awk '/^[a-z]/ {keep = /^(packaging|setuptools|wheel)==/} keep' $(2) >$(1)/build-tools.txt
@$(1)/bin/python -m pip install --quiet --require-hashes -r $(1)/build-tools.txt
@$(1)/bin/python -m pip install --quiet --require-hashes --no-build-isolation -r $(2)
@$(1)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
@touch $(1)/ready
endef

%/bin/python:
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making $* with $$("$$python" --version) ($$python)"; \
	        exec "$$python" -m venv --clear $*; \
	    fi; \
	done; \
	echo "fitcast needs Python 3.11 or newer; tried: $(PYTHONS)." >&2; \
	echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1
