# No root, no GPU needed. `make help` lists the targets.
#
#   PYTHON=python3.12   the interpreter for the virtual environment; default: the newest of 3.13 to 3.10 that runs
#   MPI=system          leave the mpich wheel out and use the machine's own MPI; remembered by the environment
#   LOCK=1              install the versions of tests/lock-*.txt, with which the tests ran, instead of the newest
#   VENV=.venv          where the environment lies
#   RANKS=2             ranks of the demo
#   JOBS=2              tests that run side by side; default: one per core, at most 4
#   GPU=1               take PyCUDA into the environment; needs the CUDA toolkit; remembered by the environment
#   GPU_PYTHON=python3  run the GPU tests and benchmarks with this interpreter instead of the environment's
#   GPU_SANITIZER=1     run the kernels' tests under compute-sanitizer, too

VENV  ?= .venv
MPI   ?= $(or $(shell cat $(VENV)/mpi 2>/dev/null),mpich)
RANKS ?= 2
GPU   ?= $(shell cat $(VENV)/gpu 2>/dev/null)
# What the demo needs is installed in a minute; the rest is added to it by all other targets.
DEMO_EXTRAS = $(if $(filter mpich,$(MPI)),mpich$(comma))$(if $(GPU),gpu$(comma))report
EXTRAS = $(DEMO_EXTRAS),keras,s3,yahoo,files,test,docs
GPU_PYTHON ?= $(BIN)/python
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
# Tests that compare times.
TIMED = tests/mpi/test_overlap.py tests/mpi/test_slow_rank.py
# What runs side by side is not mixed, if this make can.
SHOW_APART = $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
TOOLS = memcheck racecheck initcheck
comma := ,

SHELL = /bin/bash
.SHELLFLAGS = -euo pipefail -c
.DEFAULT_GOAL = help
MAKEFLAGS += --no-print-directory

BIN = $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
# Where it is set, each of the hundreds of processes that the tests start would compile the package's sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo test test-unit test-programs test-fuzz test-mpi test-timed fuzz soak test-browser test-services lint bench gpu-test gpu-bench docs docs-site screenshots audit clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo "  PYTHON=python3.12 picks the interpreter, MPI=system uses the machine's own MPI."

INSTALLED = $(VENV)/installed-$(MPI)$(if $(GPU),-gpu)
FOR_DEMO = $(VENV)/demo-$(MPI)$(if $(GPU),-gpu)
venv: $(INSTALLED)  ## make the virtual environment .venv with everything in it

$(INSTALLED): setup.cfg pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh "$(VENV)" "$(MPI)" "$(EXTRAS)" "$(PYTHON)"

$(FOR_DEMO): setup.cfg pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh "$(VENV)" "$(MPI)" "$(DEMO_EXTRAS)" "$(PYTHON)" demo

demo: $(or $(wildcard $(INSTALLED)),$(FOR_DEMO))  ## train on the shipped prices on 2 ranks; results in demo/
	@tools/demo.sh "$(RANKS)"

test: venv  ## run the tests
ifdef PYTEST_ARGS
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	@echo "two kinds of tests run at a time, and each says what it found when it has ended"
	@$(MAKE) -j 2 -k $(SHOW_APART) JOBS=$$((($(JOBS) + 2) / 2)) test-mpi test-programs test-fuzz test-unit
	@$(MAKE) test-timed
endif

test-unit: venv  ## run the tests of single modules, the first to run after a change
	@$(BIN)/python -m pytest tests/unit -n $$(($(JOBS) * 3 / 2)) --dist loadfile

# Tests often wait, for a program or for a server: there is work for more of them than cores.
test-programs: venv  ## run the tests that start programs, compile, load TensorFlow or try hundreds of cases
	@$(BIN)/python -m pytest tests/programs -n $$(($(JOBS) * 3 / 2)) --dist loadfile

test-fuzz: venv  ## run the tests that change files and options
	@$(BIN)/python -m pytest tests/fuzz -n $(JOBS) --dist load --maxschedchunk 1

# Ranks wait for each other, for a server, for the disk: two such tests keep a core busy.
test-mpi: venv  ## run the tests that start ranks
	@$(BIN)/python -m pytest tests/mpi $(TIMED:%=--ignore %) -n $$(($(JOBS) * 2)) --dist loadfile

test-timed: venv  ## run the tests that compare times; nothing else may run beside them
	@$(BIN)/python -m pytest $(TIMED)

soak: venv  ## run 100,000 schedules of the clusters' protocol that are drawn, and as many by Hypothesis
	@HYPOTHESIS_PROFILE=explore HPC_LSTM_SCHEDULES=$(or $(SCHEDULES),100000) $(BIN)/python -m pytest tests/programs/test_rounds.py -k schedules --timeout 14400

test-services: venv  ## run the tests that need real services; root on Debian, which installs them
	@[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
	    { echo "make test-services: installs a Ceph S3 server and Slurm by apt-get; run it as root on Debian, such as in a container" >&2; exit 2; }
	@$(BIN)/python -m pytest tests/services/test_slurm.py tests/services --timeout 900 -n 2 --dist loadfile $(PYTEST_ARGS)

test-browser: venv  ## look at the report in headless Chromium, which root on Debian gets installed
	@$(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

lint: venv  ## ruff, mypy, shellcheck and hadolint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/shellcheck $$(git ls-files .ci/run '*.sh' '*.sbatch')
	@$(BIN)/hadolint Dockerfile

fuzz: venv  ## look for inputs that break the program: new examples for all property tests, EXAMPLES of each mutation
	@HYPOTHESIS_PROFILE=explore HPC_LSTM_MUTATIONS=$(or $(EXAMPLES),100000) $(BIN)/python -m pytest tests/unit/market --timeout 86400
	@$(BIN)/python tests/fuzz/campaign.py --examples $(or $(EXAMPLES),100000) --jobs $(JOBS)
	@HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest tests/unit --ignore tests/unit/market -n $(JOBS) --timeout 86400
	@HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest tests/programs -n $(JOBS) --dist loadfile --timeout 86400

# What needs a GPU, or is no benchmark by itself.
OTHER_SCRIPTS = $(patsubst %,benchmarks/%.py,machine kernels gpu_% scaling_gpus% two_clusters first_step peers_profile)
bench: venv  ## run every benchmark that needs no GPU; results beside them in benchmarks/results/
	@for script in $(filter-out $(OTHER_SCRIPTS),$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python "$$script"; done

GPU_ENVIRONMENT = $(if $(filter $(BIN)/python,$(GPU_PYTHON)),venv)

gpu-test: $(GPU_ENVIRONMENT)  ## on a machine with a GPU: check kernels, backend and training on it
	@PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH} $(GPU_PYTHON) -m pytest tests/gpu $(PYTEST_ARGS)
	@$(if $(GPU_SANITIZER),for tool in $(TOOLS); do echo "== $$tool"; GPU_SANITIZER=1 PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH} \
	    compute-sanitizer --tool $$tool --error-exitcode 9 $(GPU_PYTHON) -m pytest tests/gpu/test_kernels.py; done)

gpu-bench: $(GPU_ENVIRONMENT)  ## on a machine with a GPU: measure kernels and training
	@for script in kernels gpu_training gpu_engines gpu_older_cards gpu_batches gpu_speeds gpu_steps; do \
	    echo "== $$script"; PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH} $(GPU_PYTHON) benchmarks/$$script.py; done

docs: venv  ## write docs/configuration.md anew from hpc_lstm/config/
	@$(BIN)/python docs/generate_configuration.py

docs-site: venv  ## write the documentation as a site to site/, with the Python reference; any warning fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q -d site

screenshots: venv  ## take the pictures of the report and the documentation anew; needs Chromium
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python tools/screenshots.py

audit: venv  ## known vulnerabilities (asks PyPI) and licences of all that is installed, and a bill of materials in sbom.json
	@$(BIN)/python tools/sbom.py --extras $(EXTRAS) -o sbom.json
	@$(BIN)/python tools/sbom.py --extras $(EXTRAS) --licences
	@$(BIN)/python -m pip list --format freeze --exclude-editable >$(VENV)/audited.txt
	@$(BIN)/python -m pip_audit --strict --disable-pip --no-deps -r $(VENV)/audited.txt --progress-spinner off

clean:  ## remove the environment, the demo and all caches
	@[ ! -e $(VENV) ] || [ -f $(VENV)/pyvenv.cfg ] || { echo "make clean: VENV=$(VENV) is not a virtual environment" >&2; exit 2; }
	rm -rf $(VENV) demo site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
