# The tasks of this project. Everything they need is set up on the way: `make run` on a fresh clone is enough.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install install-worker run serve check format test bench bench-peers migration build lock clean

# The first Python >= 3.11 that has venv; choose another with `make PYTHON=/path/to/python …`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$python -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
		&& command -v $$python && break; done)
BIN := .venv/bin

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Sets up .venv: server, tests and tools, locked by hash.
	@$(call require-python)
	@"$(PYTHON)" .ci/environment.py server

install-worker:
	@$(call require-python)
	@"$(PYTHON)" .ci/environment.py server worker

run: install-worker ## Surveys Python files with a real server and worker (INPUT=folder: yours).
	@$(BIN)/python examples/survey/run.py $(if $(PORT),--port $(PORT)) $(if $(INPUT),"$(INPUT)")

serve: install-worker ## Leaves the sample server and a worker running, and says what to type next.
	@$(BIN)/python examples/survey/run.py --serve $(if $(PORT),--port $(PORT))

check: install ## Formatter, linter, types and import rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Formats the code, and mends what the linter can.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: install-worker ## The whole suite, on SQLite and PostgreSQL (ARGS=… goes to pytest).
	$(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)

bench: install ## The figures of docs/speed.md on this machine (ARGS=…).
	$(BIN)/python -m bench $(ARGS)

bench-peers: install ## Other queues beside ours, where their brokers run (ARGS=…).
	@"$(PYTHON)" .ci/environment.py server peers
	$(BIN)/python -m bench.peers $(ARGS)

migration: install ## Drafts a migration from the models (MESSAGE="what changes").
	@test -n "$(MESSAGE)" || { echo 'say what changes: make migration MESSAGE="…"' >&2; exit 2; }
	$(BIN)/python migrations/draft.py "$(MESSAGE)"

build: install ## Builds the wheel and the source archive into dist/.
	$(BIN)/python -m hatchling build

lock: ## Resolves the dependencies anew into requirements-*.txt (needs uv).
	@command -v uv >/dev/null || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	uv pip compile $(LOCK) --all-extras --upgrade --output-file requirements-dev.txt
	uv pip compile $(LOCK) --constraint requirements-dev.txt --output-file requirements-worker.txt
	uv pip compile --group pyproject.toml:peers $(LOCK_OPTIONS) --upgrade --output-file requirements-peers.txt

clean: ## Removes environments, caches, and what the sample app made.
	rm -rf .venv .venv-worker .venv-peers .venv.lock dist build instance/run
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

LOCK = pyproject.toml $(LOCK_OPTIONS)
LOCK_OPTIONS = --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

define require-python
test -n "$(PYTHON)" || { \
	echo 'outsourced needs Python 3.11 or newer, with its venv module, and found none.' >&2; \
	echo 'Install one (Debian: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python …' >&2; \
	exit 1; }
endef
