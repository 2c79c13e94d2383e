.DEFAULT_GOAL := help
PY := .venv/bin/python
export PYTHONDONTWRITEBYTECODE =

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: requirements.lock pyproject.toml
	test -x $(PY) || python3 -m venv .venv
	.venv/bin/pip install -q 'uv>=0.5'
	.venv/bin/uv pip sync -q --compile-bytecode requirements.lock
	.venv/bin/uv pip install -q --no-deps -e .
	touch $@

lock: .venv/.ready  ## resolve the dependencies anew into requirements.lock
	.venv/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --group test --group check --group front pyproject.toml -o requirements.lock

check: .venv/.ready  ## format, lint, types and layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: .venv/.ready check  ## all tests
	.venv/bin/pytest

.PHONY: help lock check test
