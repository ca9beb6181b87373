# No root, no GPU needed. `make help` lists the targets.
#
#   PYTHON=python3.12   the interpreter for the virtual environment; default: the newest of 3.13 to 3.10 that runs
#   MPI=system          leave the mpich wheel out and use the machine's own MPI; remembered by the environment
#   VENV=.venv          where the environment lies
#   RANKS=2             ranks of the demo

VENV  ?= .venv
MPI   ?= $(or $(shell cat $(VENV)/mpi 2>/dev/null),mpich)
RANKS ?= 2
EXTRAS = $(if $(filter mpich,$(MPI)),mpich$(comma))s3,yahoo,report,test
comma := ,

SHELL = /bin/bash
.SHELLFLAGS = -euo pipefail -c
.DEFAULT_GOAL = help
MAKEFLAGS += --no-print-directory

BIN = $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help venv demo test lint bench docs clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile
	@echo "  PYTHON=python3.12 picks the interpreter, MPI=system uses the machine's own MPI."

venv: $(VENV)/installed-$(MPI)  ## make the virtual environment .venv with everything in it

$(VENV)/installed-$(MPI): setup.cfg pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh "$(VENV)" "$(MPI)" "$(EXTRAS)" "$(PYTHON)"

demo: venv  ## train on the shipped prices on 2 ranks; results in demo/
	@tools/demo.sh "$(RANKS)"

test: venv  ## run the tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: venv  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: venv  ## run every benchmark; results beside them in benchmarks/results/
	@for script in $(filter-out benchmarks/machine.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python "$$script"; done

docs: venv  ## write docs/configuration.md anew from hpc_lstm/config.py
	@$(BIN)/python docs/generate_configuration.py

clean:  ## remove the environment, the demo and all caches
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
