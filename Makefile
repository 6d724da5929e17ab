# Each verb is a thin call; `make help` lists them. CI runs the same verbs.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SECONDS_EACH ?= 60
export PIP_DISABLE_PIP_VERSION_CHECK = 1

SOURCES := pyproject.toml appliance/__init__.py $(wildcard native/*.c native/*.h native/*.py)

.DEFAULT_GOAL := help
.PHONY: help run setup setup-dev check format test test-fast bench fuzz native-asan schema man completion binary onefile \
	packages package-test install-test clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.run ## set up, build, and show the main job with conf/demo.toml (ARGS=--once: one replay, then exit)
	@$(BIN)/broappliance demo $(ARGS)

setup: $(VENV)/.run ## virtual environment with the appliance, C module built

setup-dev: $(VENV)/.dev ## the same with everything for check, test and bench

$(VENV)/.run: $(SOURCES)
	@sh packaging/prerequisites.sh build
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the appliance into $(VENV) and building its C module ..."
	@$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@sh packaging/prerequisites.sh test
	@echo "installing what tests and checks need ..."
	@$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

check: $(VENV)/.dev ## lint, types, architecture, spelling, generated files up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell appliance native conf packaging tests docs benchmarks README.md CHANGELOG.md
	$(BIN)/python -m pytest -q tests/test_architecture.py
	@$(MAKE) --no-print-directory schema man completion CHECK=1

format: $(VENV)/.dev ## put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/.dev ## every test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)

test-fast: $(VENV)/.dev ## without the slow ones
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

bench: $(VENV)/.dev ## measure against the peers; about five minutes
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: ## fuzz every C parser for SECONDS_EACH seconds
	sh native/fuzz/run.sh $(SECONDS_EACH)

native-asan: $(VENV)/.dev ## the C tests under AddressSanitizer and UndefinedBehaviorSanitizer
	PYTHON=$(abspath $(BIN))/python sh native/asan.sh

# With CHECK=1 these compare instead of writing.
schema: $(VENV)/.dev ## write conf/broappliance.schema.json
	@$(BIN)/broappliance schema | $(if $(CHECK),diff -u conf/broappliance.schema.json -,tee conf/broappliance.schema.json >/dev/null)

man: $(VENV)/.dev ## write packaging/broappliance.8
	@$(BIN)/python packaging/make_man.py | $(if $(CHECK),diff -u packaging/broappliance.8 -,tee packaging/broappliance.8 >/dev/null)

binary: ## the program with all it needs in one folder, dist/broappliance/, built and tried out
	@sh packaging/prerequisites.sh build
	@$(PYTHON) packaging/make_binary.py

onefile: ## the same as a single file, dist/broappliance-VERSION-linux-MACHINE
	@sh packaging/prerequisites.sh build
	@$(PYTHON) packaging/make_binary.py --onefile

packages: binary ## deb and rpm in dist/, from that folder
	@sh packaging/prerequisites.sh packages
	@sh packaging/make_packages.sh build/binary/venv/bin/python

package-test: $(VENV)/.dev packages ## as root: look into them; install, upgrade and purge them in a small Debian 12
	@sh packaging/prerequisites.sh package-test
	-@$(PYTHON) -m tests.packaging.machines bookworm
	BROAPPLIANCE_PACKAGES=dist timeout 600 $(BIN)/python -m pytest -n 2 -k "not trixie" \
		tests/packaging/test_packages.py tests/packaging/test_rpm.py tests/packaging/test_install.py $(ARGS)

install-test: $(VENV)/.dev packages ## as root: install, upgrade, boot and purge them in small Debian systems
	@sh packaging/prerequisites.sh install-test
	BROAPPLIANCE_PACKAGES=dist timeout 900 $(BIN)/python -m pytest tests/packaging $(ARGS)

completion: $(VENV)/.dev ## write packaging/completion/
	@$(BIN)/python packaging/make_completion.py bash | $(if $(CHECK),diff -u packaging/completion/broappliance.bash -,tee packaging/completion/broappliance.bash >/dev/null)
	@$(BIN)/python packaging/make_completion.py zsh | $(if $(CHECK),diff -u packaging/completion/_broappliance -,tee packaging/completion/_broappliance >/dev/null)

clean: ## remove what was built
	rm -rf $(VENV) build dist *.egg-info demo-data appliance/*.so
