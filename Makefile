# Each target makes what it needs: host packages, tools root, .venv, llama.cpp, models; all of it is cached.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOLCHAIN := image/toolchain
PYTHON := .venv/bin/python
# Subprocesses of tests and of the demo find the project's commands.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Tests start our commands thousands of times: Python keeps what it compiled, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

PACKAGES := policies/sealwright_policies licensing/custody/sealwright_custody image/sealwright_image appliance/sealwright_appliance \
	appliance/client/sealwright_client licensing/sealwright_licensing ansible/sealwright_ansible
BENCHES := image licensing custody serving outflow sealing
# One file at a time to a worker: fixtures with a TPM or a server are made once for it.
PYTEST := $(PYTHON) -m pytest --numprocesses 2 --dist loadfile

.PHONY: help
help:  ## show this text
	@echo "make TARGET, with TARGET one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Products of long steps are kept in $${XDG_CACHE_HOME:-~/.cache}/sealwright."

# --- what the targets need -------------------------------------------------------------------------------------------

.PHONY: host python tools server wheel training trained license-server debian-server lm-eval
host:
	@$(TOOLCHAIN)/host-packages
python: host
	@$(TOOLCHAIN)/python-environment
tools: host
	@$(TOOLCHAIN)/debian-root tools >/dev/null
server: tools python
	@$(TOOLCHAIN)/llama server >/dev/null
# After the server: each of the two compiles on all cores.
wheel: server
	@$(TOOLCHAIN)/python-environment --llama
lm-eval: python
	@$(TOOLCHAIN)/python-environment --lm-eval >/dev/null
debian-server: host
	@$(TOOLCHAIN)/license-server-root >/dev/null
training: tools
	@$(TOOLCHAIN)/debian-root training >/dev/null
trained: python training server
	@$(PYTHON) -m sealwright_testing.models

# --- for everybody ---------------------------------------------------------------------------------------------------

.PHONY: setup demo demo-down models
setup: python tools server  ## make the environment: packages, tools root, .venv, llama-server
demo: python tools server trained  ## build an image, boot it, activate it, ask each model a question
	@sealwright-demo up
demo-down: python  ## stop and remove what demo started
	@sealwright-demo down
license-server: host  ## collect what sealwright-fleet installs on a licence server; print the archive's path
	@$(TOOLCHAIN)/python-environment --server
models: trained  ## train the two bundled models and check them (cached)

# --- tests -----------------------------------------------------------------------------------------------------------

.PHONY: lint format docs lock
lint: python  ## ruff, mypy strict, import-linter, ansible-lint
	@ruff check .
	@ruff format --check .
	@mypy $(PACKAGES) tests
	@lint-imports
	@cd ansible && ansible-lint --offline -q
format: python  ## format the Python code and order its imports
	@ruff check --select I --fix --quiet .
	@ruff format .
docs: host  ## check the links between the documents
	@$(TOOLCHAIN)/check-links
lock: host  ## resolve requirements.lock anew
	@$(TOOLCHAIN)/python-environment --lock

.PHONY: test test-all test-gpu test-unit test-integration test-postgresql test-rows test-fuzz fuzz-parsers fuzz-interfaces test-box-python test-leases test-vm \
	test-redteam test-training soak world
# First what needs no virtual machine, and beside it, as far as the cores go, what these start from; then they have the
# cores to themselves.
test:  ## all that a change must pass: lint, unit, vectors, integration, VM cases
	@$(MAKE) --no-print-directory host python
	@$(MAKE) --no-print-directory --jobs=2 lane-world lane-checks
	@$(MAKE) --no-print-directory step-vm
	@$(TOOLCHAIN)/step --closing lint docs unit box-python integration rows vm
test-all: test test-training  ## everything, with five minutes of the soak
	@$(MAKE) --no-print-directory test-postgresql
	@$(PYTEST) -m long tests/integration
	@$(VM) -m "vm and long" tests/vm
	@$(PYTHON) -m sealwright_testing.soak --minutes 5
soak: python server  ## serve for an hour (MINUTES=60): no request is lost, and memory stays where it is
	@$(PYTHON) -m sealwright_testing.soak --minutes $(or $(MINUTES),60)
test-unit: python  ## unit tests and vectors
	@$(PYTEST) tests/unit tests/vectors
test-fuzz: python  ## fuzz parsers and interfaces, ten minutes (MINUTES=60 for an hour); short runs are among the tests
	@$(MAKE) --no-print-directory --jobs=2 --keep-going fuzz-parsers fuzz-interfaces
fuzz-parsers:
	@$(PYTHON) -m sealwright_testing.fuzz --minutes $(or $(MINUTES),10)
fuzz-interfaces:
	@$(PYTHON) -m sealwright_testing.interfaces --minutes $(or $(MINUTES),10)
test-box-python: python tools  ## unit tests of policies and appliance under the box's Python and packages
	@$(TOOLCHAIN)/test-in-box-python --numprocesses 2
# Three at a time: half of what these do is wait for others.
test-integration: python tools server wheel license-server debian-server lm-eval  ## real swtpm, HTTPS, llama-server, PostgreSQL, servers that boot
	@$(PYTEST) --numprocesses 3 -m "not long" tests/integration
test-postgresql: python  ## unit tests of the licence service on a real PostgreSQL
	@$(PYTEST) --database postgresql tests/unit/licensing
ROWS := $(wildcard $(patsubst %,tests/unit/licensing/test_%.py,audit* log* migration* operations schema sequencer signed* store* tables*))
test-rows: python  ## the third of them that is about rows, log and audit
	@$(PYTEST) --database postgresql $(ROWS)
test-leases: python  ## drive leases in random order for MINUTES (10)
	@$(PYTHON) -m sealwright_testing.leases --minutes $(or $(MINUTES),10)
# By file: tests that share a boot are in one, and go to one worker. (loadgroup of xdist 3.8 sees no groups under pytest 9.2.)
VM := $(PYTEST) --timeout 3600
test-vm: python tools server trained  ## boot the image and attack it (two boxes at a time)
	@$(VM) -m "vm and not long" tests/vm
world: python tools server trained
	@$(PYTHON) -m sealwright_testing.world
test-training: python tools server training trained  ## a box in which torch tunes a model on sealed data
	@$(VM) -m training tests/vm
test-gpu: python  ## engines on a GPU keep the contract: llama-server for CUDA (needs nvcc), vLLM (needs `vllm` in PATH)
	@$(PYTHON) -m pytest -m gpu tests/gpu
test-redteam: python tools server wheel training trained  ## what an attacker would try, apart from the other tests
	@$(PYTEST) -m redteam tests/integration
	@$(VM) -m redteam tests/vm

.PHONY: lane-world lane-checks
lane-world:
	@for goal in tools server training step-models step-world; do $(MAKE) --no-print-directory $$goal; done
lane-checks:
	@for name in lint docs unit rows box-python integration; do $(MAKE) --no-print-directory step-$$name; done
# The long lane goes before the other, and boxes that boot before all else: what waits in them goes by the clock.
step-%:
	@$(if $(filter models world vm,$*),,nice -n 5) $(TOOLCHAIN)/step $* $(MAKE) --no-print-directory $(if $(filter lint docs models world,$*),$*,test-$*)

# --- figures ---------------------------------------------------------------------------------------------------------

.PHONY: bench bench-memory $(BENCHES:%=bench-%)
bench: python tools server trained  ## measure everything: tests/bench/results/NAME.json and a table
	@$(PYTHON) -m sealwright_testing.bench $(BENCHES)
bench-image: ## build time by step, and encryption against openssl speed
bench-licensing: ## quotes against Keylime, decisions, renewals end to end
bench-memory: python  ## renewals end to end, 50 000 of them: does the service grow (minutes)
	@$(PYTHON) -m sealwright_testing.bench memory
bench-custody: ## keys in a PKCS#11 token against keys in files
bench-serving: ## the gateway against llama-server alone, and the box against llama-cpp-python's server
bench-outflow: ## whether the copying of a model through its API is seen
bench-sealing: ## sealed against plain in instructions; the TPM's part, and a boot from power to the first token (40 minutes)
$(BENCHES:%=bench-%): bench-%: python tools server trained
	@$(PYTHON) -m sealwright_testing.bench $*

.PHONY: clean
clean:  ## remove what is made in this folder (the cache stays: delete its folder to free the space)
	@if [[ -d build/demo && -x .venv/bin/sealwright-demo ]]; then sealwright-demo down; fi
	rm -rf .venv build out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name '*.egg-info' -prune -exec rm -rf {} +
