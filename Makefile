# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv and are quick when repeated.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STUDY  ?=
OUT    ?= out
DEMO_MIN_SLICES ?=
NAME   ?=
TESTS  ?= tests
JOBS   ?= 3
N      ?= 5000
SEED   ?= 1
CASE   ?=
KERNEL := $(wildcard preprocess_service/glioserve_preprocess/kernel/*.c client/glioserve_dicom/codec/*.[ch] preprocess_service/glioserve_triton/adapters/*.c)

# One process more than two cores have: tests that wait for a server leave theirs idle.
PARALLEL := -n $(JOBS) --dist loadgroup --no-loadscope-reorder

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' client/pyproject.toml)

# The client by its version: installed from its folder beside this one, not as a copy.
export GLIOSERVE_CLIENT := ==$(VERSION)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1
export ORT_DISABLE_TELEMETRY := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo test test-long test-slow lint peers bench chaos fuzz brain-model opinion-model demo-model licences sbom docs docs-site tools checkov crds wheels clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info[:2] >= (3, 10), "Python 3.10 or newer"' \
	  || { echo "glioserve needs Python 3.11: name it with make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }

# The demo's environment: client, preprocessing and Triton, without torch.
$(VENV)/.serve: $(BIN)/python pyproject.toml client/pyproject.toml constraints.txt hatch_build.py $(KERNEL)
	@echo "Installing the serving environment into $(VENV) (about a minute, once) …"
	@$(BIN)/pip install --quiet --progress-bar on -c constraints.txt -e ./client -e '.[serve]'
	@touch $@

# Everything: training, export, tests. torch first and exactly, so that nothing pulls another build of it.
$(VENV)/.dev: $(VENV)/.serve
	@echo "Installing the development environment into $(VENV) (a few minutes, once) …"
	@$(BIN)/pip install --quiet --progress-bar on $(shell grep '^torch==' constraints.txt)
	@$(BIN)/pip install --quiet --progress-bar on -c constraints.txt -e ./client -e '.[dev]'
	@touch $@

demo: $(VENV)/.serve ## a DICOM study in, an explained answer out, through a real Triton server (STUDY=dir for your own)
	@$(BIN)/glioserve demo $(if $(STUDY),--study '$(STUDY)') --out '$(OUT)' $(if $(DEMO_MIN_SLICES),--min-slices $(DEMO_MIN_SLICES))

tools: $(VENV)/.dev ## programs that tests run: helm, kubectl, hadolint, prometheus, dciodvfy, Orthanc, Chromium …; into build/tools
	-@$(BIN)/python scripts/get_tools.py
	-@$(BIN)/python scripts/get_debian.py

build/tools/checkov/bin/checkov:
	@echo "Installing checkov into build/tools/checkov (290 MB, a minute, once) …"
	-@$(PYTHON) -m venv build/tools/checkov && build/tools/checkov/bin/pip install --quiet checkov==3.3.30

checkov: build/tools/checkov/bin/checkov ## the scanner of the chart's slow test, in an environment of its own

build/tools/crds/bin/python:
	@echo "Installing types of custom resources into build/tools/crds (once) …"
	-@$(PYTHON) -m venv build/tools/crds && build/tools/crds/bin/pip install --quiet cloudcoil==0.4.10 \
	  cloudcoil.models.keda==2.16.1.0 cloudcoil.models.cert_manager==1.17.1.0 cloudcoil.models.prometheus_operator==0.80.1.0

crds: build/tools/crds/bin/python ## the operators' types of the chart's slow test, in an environment of their own

# Each process has one core, where threads that wait for each other cost more than they gain.
test test-long test-slow: export OMP_NUM_THREADS ?= 1

test: $(VENV)/.dev tools ## the tests but for long and slow ones, in JOBS processes (TESTS=path, ARGS='-k name' to choose)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not long" $(TESTS) $(ARGS)

test-long: $(VENV)/.dev tools ## the long tests: whole servers, trainings and exports; .ci/run runs them after the others
	@$(BIN)/python -m pytest $(PARALLEL) -m "long and not slow" $(TESTS) $(ARGS)

test-slow: $(VENV)/.dev tools checkov crds ## the tests that take long; run them before a release
	@$(BIN)/python -m pytest $(PARALLEL) -m slow $(TESTS) $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy and the documentation's build
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@for adapter in model_repository/*/1/model.py; do $(BIN)/mypy "$$adapter" || exit 1; done  # each is a module "model"
	@$(BIN)/mkdocs build --strict --quiet

build/peers/.done: benchmarks/peers/requirements.txt
	@echo "Installing the peers of the benchmarks into build/peers (2.5 GB, some minutes, once) …"
	@rm -rf build/peers && $(PYTHON) -m venv build/peers
	@build/peers/bin/pip install --quiet --progress-bar on -r benchmarks/peers/requirements.txt
	@touch $@

peers: build/peers/.done ## the registration tools that the benchmarks compare with, into build/peers

bench: $(VENV)/.dev $(if $(filter registration preprocess,$(NAME)),peers) ## run the benchmark NAME (ARGS='--help'); without NAME, list them
	@if [ -z '$(NAME)' ]; then ls benchmarks/*/bench_*.py | sed 's/.*bench_\(.*\)\.py/make bench NAME=\1/'; exit; fi; \
	file=$$(ls benchmarks/*/bench_$(NAME).py 2>/dev/null) || { echo "No benchmark has the name $(NAME); make bench lists them."; exit 1; }; \
	PYTHONPATH=benchmarks $(BIN)/python -m $$(basename $$(dirname $$file)).bench_$(NAME) $(ARGS)

chaos: $(VENV)/.dev ## faults strike a server under load; exit code 1 where a study is lost (ARGS='--only TEXT --hostile N')
	@OMP_NUM_THREADS=1 GRPC_VERBOSITY=NONE PYTHONPATH=benchmarks $(BIN)/python -m chaos.bench_chaos $(ARGS)

fuzz: $(VENV)/.dev ## N mutated studies from SEED, each to an answer or a code (CASE=number: that one alone)
	@OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz --cases $(N) --seed $(SEED) $(if $(CASE),--case $(CASE)) $(ARGS)

brain-model: $(VENV)/.dev ## train the brain extraction network again (over an hour on two cores; goes on where it stopped)
	@$(BIN)/python scripts/models/make_brain_model.py $(ARGS)

opinion-model: $(VENV)/.dev ## train the network that tells kinds of images again (about an hour on two cores; goes on where it stopped)
	@$(BIN)/python scripts/models/make_opinion_model.py $(ARGS)

demo-model: $(VENV)/.dev ## make examples/demo_model again from nothing: train, export, parity, manifest
	@$(BIN)/python scripts/models/make_demo_model.py

licences: $(VENV)/.dev ## the licence of every package of the default install, into build/sbom; fails on the GPL
	@$(BIN)/python scripts/licences.py --out build/sbom/licences.md

sbom: licences ## what a release is made of: CycloneDX for each image, and the list of licences, into build/sbom
	@$(BIN)/python scripts/sbom.py

docs: $(VENV)/.dev ## write the generated parts of docs/ and the dashboards again
	@$(BIN)/python scripts/docs/generate_docs.py
	@$(BIN)/python scripts/docs/list_modules.py
	@$(BIN)/python scripts/dashboards/make_dashboards.py

docs-site: $(VENV)/.dev ## build docs/ as a site into build/site (open build/site/index.html)
	@$(BIN)/mkdocs build --strict

wheels: $(BIN)/python ## both distributions as wheels for any Linux of this machine's kind, into dist/
	@rm -rf dist
	@GLIOSERVE_WHEELS=1 $(BIN)/pip wheel --quiet --no-deps --wheel-dir dist ./client .
	@ls dist

clean: ## remove everything that was built, the environment too
	rm -rf $(VENV) build $(OUT)
