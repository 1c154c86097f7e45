# Everything a person does here. Needs git, make and a Python of 3.11 or later; uv is fetched when it is not there.
SHELL := /bin/bash
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .tools/bin/uv)
RUN := $(UV) run --locked

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-long test-all check docs conformance bench site mutants pythons wheel reliability sim fuzz security

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(if $(filter uv,$(UV)),,.tools/bin/uv)  ## install what is needed, exactly as locked
	$(UV) sync --locked --compile-bytecode
	$(RUN) python -m compileall -q src  # compiled once: else each of many processes may do it again
	@if command -v npm >/dev/null 2>&1; then \
	  for one in tests/strangers/*/package.json; do \
	    npm ci --prefix "$$(dirname "$$one")" --omit=optional --no-audit --no-fund --loglevel=error || exit 1; done; \
	  else echo "npm is not here: the tests with strangers from npm will be skipped"; fi

.tools/bin/uv:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed as python3. Debian, Ubuntu: apt install python3 python3-venv"; exit 1; }
	@echo "uv is not here: fetching it into .tools"
	@python3 -m venv .tools || { echo "Debian, Ubuntu: apt install python3-venv"; exit 1; }
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

demo: ## three homes, two organisations, a portal: the whole story on this machine
	$(RUN) gridspine demo

test: ## tests that are fast
	$(RUN) pytest -rs -m "not slow" -n 3 --dist loadfile

test-slow: ## the tests that are slow
	$(RUN) pytest -rs -m "slow and not long" -n 3 --dist loadfile

test-long: ## the tests of many minutes: a thousand kills, hundreds of seeds
	$(RUN) pytest -rs -m long

test-all: ## every test
	$(RUN) pytest -rs

check: ## style, types, who may know whom, tidiness
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) pytest -rs tests/tidy

docs: ## write the reference pages from the code
	$(RUN) python -W ignore -m gridspine.apps.cli.reference docs/reference
	$(RUN) python tools/conformance_page.py
	$(RUN) python tools/judges_page.py
	$(RUN) python tools/bad_input_page.py

conformance: ## have other parties' programs, schemas and vectors judge the node, and write down what they found
	mkdir -p docs/data/judges
	GRIDSPINE_TALLY=docs/data/judges $(RUN) pytest -rs -n 2 --dist loadfile $$($(RUN) python tools/judges_page.py --tests); \
	  judged=$$?; $(MAKE) docs && exit $$judged

bench: ## a short look at the numbers on this machine, some ten minutes; benchmarks/run.py --write for the page
	$(RUN) python benchmarks/run.py --short --within-s 600

site: ## the documentation as a site, in site/; strict: a link that leads nowhere fails it
	NO_MKDOCS_2_WARNING=1 $(RUN) --isolated --only-group docs mkdocs build --quiet
	@echo "site/index.html: $$(find site -name '*.html' | wc -l) pages"

wheel: ## build wheel and sdist, and run the demo from the wheel, outside of this folder
	PATH="$$PWD/.tools/bin:$$PATH" tools/wheel_demo.sh

pythons: ## the core of the fast tests on every Python we promise and this machine has
	PATH="$$PWD/.tools/bin:$$PATH" tools/pythons.sh

reliability: ## kill, stop and exhaust nodes more than a thousand times, and write down how often (half an hour)
	GRIDSPINE_TALLY=docs/data/reliability.json $(RUN) pytest -rs tests/faults
	$(RUN) python tests/faults/page.py

SEEDS ?= 0..1000
sim: ## whole nodes through faults by seed: make sim SEEDS=0..5000; the counts go to docs/data
	$(RUN) python -m sim --seeds $(SEEDS) --jobs 2 --json docs/data/reliability-sim.json
	$(RUN) python -m sim --prove --jobs 2 --json docs/data/reliability-sim.json

mutants: ## plant small faults in screen, lease, grant and gate, and see whether tests notice (half an hour)
	$(RUN) python tests/mutation/run.py
	$(RUN) python tests/mutation/page.py

fuzz: ## every decoder, a million inputs each (an hour), for docs/security.md
	nice -n 10 $(RUN) python fuzz/run.py --write

security: ## the matrix, the description, the bill of materials and advisories; writes their counts into docs/security.md
	GRIDSPINE_SECURITY_DATA=$$PWD/docs/data $(RUN) pytest -rs tests/apps/attack
	PATH="$$PWD/.tools/bin:$$PATH" $(RUN) python tools/supply.py --data || test $$? -eq 3
	$(RUN) python tools/security_page.py
