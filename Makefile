# The same few verbs on a laptop and in CI (.ci/run). `make` alone lists them.

PYTHON = .venv/bin/python
AXE = build/axe/node_modules/axe-core/axe.min.js

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

run: .venv/ready  ## the app, on a Redis inside its process: http://127.0.0.1:5000
	.venv/bin/flask run

test: .venv/ready  ## each promise, in some two minutes; ARGS="tests/roles -k limit" chooses
	$(PYTHON) -m pytest $(ARGS)

thorough: .venv/ready  ## the same with every round, order and fault
	$(PYTHON) -m pytest --thorough $(ARGS)

browser: .venv/ready $(AXE)  ## the pages in Chromium, which make thorough has too; needs chromium, and npm for axe-core
	$(PYTHON) -m pytest --thorough $(or $(ARGS),tests/browser)

check: .venv/ready  ## types, lint and format
	.venv/bin/mypy .
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

conformance: .venv/ready  ## other people's tests with our sessions, koa beside them, several workers (needs Node)
	$(PYTHON) conformance/suites.py
	$(PYTHON) conformance/koa.py
	$(PYTHON) conformance/workers.py

benchmark: .venv/ready  ## which commands each store sends; ARGS="--runs 3" measures, in twelve minutes
	$(PYTHON) benchmarks/run.py $(or $(ARGS),--short)

dist: .venv/ready  ## what a release uploads, in dist/; and the wheel, installed by itself
	rm -rf dist build/try
	$(PYTHON) -m hatchling build
	python3 -m venv build/try
	build/try/bin/pip install --quiet dist/*.whl
	cd build/try && bin/python -c 'from redis_store import RedisSessionInterface, RedisStore, connect'
	cd build/try && bin/flask sessions --help

# The file says when the environment was made: again, when it needs something else.
.venv/ready: requirements.txt requirements-dev.txt pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet -r requirements-dev.txt
	touch $@

# What finds barriers in pages. Without it the tests that ask it are skipped.
$(AXE): Makefile
	npm install --prefix build/axe --fetch-retries=5 --no-audit --no-fund --no-package-lock --ignore-scripts axe-core@4.14.1
	touch $@

.PHONY: help run test thorough browser check conformance benchmark dist
