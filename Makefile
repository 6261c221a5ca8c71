# `make help` lists the targets.
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
SANDBOX ?= process
HARNESS_BUILD_NETWORK ?= default
KIT_IMAGE := advkit:0.1.0

BIN := .venv/bin
STAMP := .venv/.installed
INPUTS := pyproject.toml constraints.txt submissions/kit/pyproject.toml
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --no-build-isolation --allow-unsafe \
	--strip-extras --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(if $(UPGRADE),--upgrade)
# PyTorch pins its CUDA packages itself, and only builds with CUDA have them: neither they nor a local version is our pin.
STRIP := sed -i -E -e '/^(cuda|nvidia|triton)[a-z0-9-]*==/d' -e 's/^([a-z0-9-]+==[^+ ]+)\+[^ ]*/\1/'

.PHONY: help venv run site test results security paper lock kit-image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

venv: $(STAMP) ## make .venv with the pinned dependencies

$(STAMP): $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed, and "$(PYTHON)" is not: name one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'installing into .venv (the first time takes some minutes, most of it PyTorch)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(PIP) install --constraint constraints.txt pip setuptools wheel
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[datasets,dev,ray,s3,trial]' --editable 'submissions/kit[fetch,figures]'
	@touch $@

run: venv ## play tournaments/photos.yaml, then digits.yaml; SANDBOX=docker plays them in containers
	@$(BIN)/harness run tournaments/photos.yaml --sandbox $(SANDBOX)
	@$(BIN)/harness run tournaments/digits.yaml --sandbox $(SANDBOX)

site: run ## publish what `make run` played as a static site in site/, and verify it
	@$(BIN)/harness publish runs/photos runs/digits --to site
	@$(BIN)/harness verify site

test: venv ## lint, types, all tests
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo 'not formatted: run .venv/bin/ruff format' >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/pytest --numprocesses logical --maxprocesses 8 --dist loadgroup --no-loadscope-reorder

results: venv ## play tournaments/transfer.yaml on DEV=FOLDER (images/, dev_dataset.csv) and write docs/results.md
	@$(BIN)/harness run tournaments/transfer.yaml --limit 100 --dataset-dir $(if $(DEV),$(DEV),dataset/nips2017_dev)
	@$(BIN)/python docs/results.py runs/transfer

security: venv ## try every hostile submission and escape (needs an engine) and write docs/security.md
	@$(BIN)/pytest --quiet --junitxml=.venv/hostile.xml tests/test_hostile_*.py tests/test_cheating.py tests/test_proof.py
	@$(BIN)/python docs/security.py .venv/hostile.xml

paper: venv ## train and attack what docs/paper.md is about, three seeds (hours), and write it; MNIST=, CIFAR10= name data
	@$(BIN)/python -m training measure mnist --seeds 0 1 2 $(if $(MNIST),--from $(MNIST))
	@$(BIN)/python -m training measure cifar10 --seeds 0 1 2 $(if $(CIFAR10),--from $(CIFAR10))
	@$(BIN)/python -m training paper mnist cifar10

lock: venv ## resolve the pins again, keeping those that still fit; UPGRADE=1 takes the newest
	@$(COMPILE) --all-extras --output-file constraints.txt pyproject.toml submissions/kit/pyproject.toml
	@$(STRIP) constraints.txt
	@sed -e '/^#/d' constraints.txt > .venv/pins.txt
	@$(COMPILE) --all-extras --constraint .venv/pins.txt --output-file submissions/kit/constraints.txt submissions/kit/pyproject.toml
	@$(STRIP) submissions/kit/constraints.txt

kit-image: ## build the image of the participant kit (a tournament in containers does it by itself)
	@echo 'building $(KIT_IMAGE) (the first time takes a minute or more)'
	@docker build --quiet --tag $(KIT_IMAGE) --network $(HARNESS_BUILD_NETWORK) \
	  $(foreach name,PIP_INDEX_URL PIP_EXTRA_INDEX_URL,$(if $($(name)),--build-arg $(name))) \
	  $(foreach name,BASE EXTRAS,$(if $($(name)),--build-arg $(name)='$($(name))')) submissions/kit >/dev/null

clean: ## remove .venv and every cache
	@rm -rf .venv build dist ./*.egg-info submissions/kit/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
