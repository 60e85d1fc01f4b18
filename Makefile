# `make demo` and `make test` work on a fresh machine with make, git and python3 (Debian 12 or 13), as root.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# tests run in parallel: three workers for two cores, since many wait for packets that must not come; six at most
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); n=$$((n * 3 / 2)); [ $$n -lt 2 ] && n=2; [ $$n -gt 6 ] && n=6; echo $$n)

# seconds that the tests with real engines may take
ENGINES_LIMIT ?= 240

# seconds that the benchmark with real engines may take
BENCH_ENGINES_LIMIT ?= 480

# else every run of the command would compile its sources anew
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help deps venv demo test unit kernel test-vm test-engines bench bench-growth bench-engines check format golden schemas clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that are missing (root)
	@.ci/deps

venv: deps $(STAMP) ## make .venv with netapply and the tools for its development

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip  # an older one has `netapply` import re
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: venv ## the voting app on an isolated host: plan, apply, pings, repair, destroy (root)
	@$(BIN)/python -m tests.demo

test: venv ## unit and kernel tests, in parallel (kernel tests need root)
	$(BIN)/pytest tests/unit tests/kernel -n $(JOBS) --dist worksteal

unit: venv ## unit tests only
	$(BIN)/pytest tests/unit -n $(JOBS) --dist worksteal

kernel: venv ## kernel tests only (root)
	$(BIN)/pytest tests/kernel -n $(JOBS) --dist worksteal

test-vm: venv ## tests on a stock Debian kernel under QEMU, 20 minutes at most, 10 with VM_BRIEF=1; VM_TESTS=..., COVERAGE=1 (root)
	@.ci/deps vm
	@$(BIN)/python -m tests.vm.suite $(VM_TESTS)

test-engines: venv ## tests with the real Docker, Podman, runc, crun and containerd, each in a host of its own (root)
	@.ci/deps engines
	timeout --signal=INT --kill-after=20 $(ENGINES_LIMIT) $(BIN)/pytest tests/engines -n 2 --dist loadfile $(ENGINES_TESTS)

bench: venv ## measure against `ip` and the targets (root); writes bench.json
	@$(BIN)/python -m tests.bench

bench-growth: venv ## how apply and no-op grow from 1000 to 4000 endpoints (root)
	@$(BIN)/python -m tests.bench --growth

bench-engines: venv ## attach 100 containers by netapply, ip, CNI, Docker and Podman (root); writes bench-engines.json
	@.ci/deps engines
	@timeout --foreground --signal=INT --kill-after=60 $(BENCH_ENGINES_LIMIT) $(BIN)/python -m tests.bench.engines

check: venv ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: venv ## renew the golden files from what the code does now (read the diff)
	RENEW_GOLDEN=1 $(BIN)/pytest tests/unit tests/kernel/test_docs.py -n $(JOBS) -q

schemas: venv ## renew schemas/ from the code
	$(BIN)/python -m reconciler.manifest.schema > schemas/.new && mv schemas/.new schemas/manifest.schema.json
	$(BIN)/python -m reconciler.plugins.schemas request > schemas/.new && mv schemas/.new schemas/driver-request.schema.json
	$(BIN)/python -m reconciler.plugins.schemas reply > schemas/.new && mv schemas/.new schemas/driver-reply.schema.json

clean: ## remove what make and the tools have made
	rm -rf $(VENV) bench.json bench-engines.json .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
