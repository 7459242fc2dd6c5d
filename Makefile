# Everything a person runs here. Needs only make and Python >= 3.11; all else goes into .venv, nothing outside this folder.

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
TESTS  ?= tests
JOBS   ?= 2
CODE    = recovery strategies workers celeryconfig.py beat_schedule.py
MORE    = $(wildcard examples benchmarks) tests .ci/setup_venv.py

RUNTIME = $(VENV)/.installed-requirements.lock
DEV     = $(VENV)/.installed-requirements-dev.lock

.DEFAULT_GOAL := help
.PHONY: help demo up test test-integration check fmt lock bench torture torture-planted build clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## break an example fleet in six ways and watch each recovery
	@$(BIN)/python examples/fleet/demo.py

up: $(RUNTIME) ## run the platform with the example fleet until Ctrl-C
	@$(BIN)/python examples/fleet/demo.py --stay

test: $(DEV) ## run the tests, two files at a time (TESTS=path for some of them, JOBS=1: one by one)
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

test-integration: $(DEV) ## the suites on PostgreSQL, Redis and RabbitMQ (FULL=1: all)
	@$(BIN)/python -m tests.servers $(if $(FULL),--full) $(if $(LIMIT),--limit $(LIMIT))

check: $(DEV) ## check format, lint, types and layers; runs all, fails if any did
	@failed=; \
	step() { name=$$1; shift; echo "== $$name"; "$$@" || failed="$$failed $$name"; }; \
	step format $(BIN)/ruff format --check .; \
	step lint $(BIN)/ruff check .; \
	step types $(BIN)/mypy $(CODE) $(MORE); \
	step layers $(BIN)/lint-imports --no-cache; \
	if [ -n "$$failed" ]; then echo "check failed:$$failed" >&2; exit 1; fi

fmt: $(DEV) ## format the code and mend what lint can mend
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(DEV) ## measure, side by side with what else one could do
	@$(BIN)/python -m benchmarks

torture: $(DEV) ## kill and freeze a running platform 200 times, and prove that nothing is lost (ARGS="--seed 7 ...")
	@$(BIN)/python -m tests.torture $(ARGS)

torture-planted: $(DEV) ## plant three bugs and prove that the torture finds each
	@$(BIN)/python -m tests.torture.planted $(ARGS)

build: $(RUNTIME) ## build the wheel into dist/
	@$(BIN)/python -m hatchling build --target wheel

COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml

lock: ## pin the newest allowed versions of all packages, with hashes
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	@$(COMPILE) --upgrade --extra build --extra postgres --output-file requirements.lock
	@$(COMPILE) --upgrade --all-extras --constraints requirements.lock --output-file requirements-dev.lock

clean: ## remove .venv, caches and build results (not the data in .recovery)
	@rm -rf $(VENV) $(VENV).lock .venv-lock build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# One environment, two fillings: the demo needs no test tools. The script compares contents, so a stamp only says "look again".
$(RUNTIME): requirements.lock pyproject.toml .ci/setup_venv.py
	@command -v $(PYTHON) >/dev/null || { echo "setup: there is no '$(PYTHON)' here; install Python 3.11 or newer, or say 'make PYTHON=...'" >&2; exit 1; }
	@$(PYTHON) .ci/setup_venv.py $(VENV) requirements.lock

$(DEV): requirements-dev.lock $(RUNTIME)
	@$(PYTHON) .ci/setup_venv.py $(VENV) requirements-dev.lock
