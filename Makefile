# The commands of a developer. Each says what it does; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench stack lock clean
PYTHON ?= python3
BIN := .venv/bin

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

setup: ## make .venv from the lock file (needs Python 3.11 or later, nothing else)
	@$(PYTHON) deploy/local/environment.py

demo: setup ## see it work: orders, cases, mails, on a stack of its own
	@$(BIN)/recourse demo

test: setup ## unit, contract, component, e2e and chaos tests on a real broker and store
	@$(BIN)/pytest $(TESTS)

lint: setup ## style, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

bench: setup ## measure ingestion against the raw floor (builds the native store the first time)
	@if command -v cargo >/dev/null; then $(BIN)/recourse stack build; else echo "no Cargo: measuring the store of the wheel" >&2; fi
	@$(BIN)/recourse bench ingest

stack: setup ## start broker and store in the background, data in .recourse
	@$(BIN)/recourse stack start

LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header --quiet
lock: ## renew the lock files after a change of pyproject.toml (needs uv)
	@$(LOCK) --extra local --extra dev -o requirements.lock
	@$(LOCK) --constraint requirements.lock -o requirements.run.lock

clean: ## remove .venv, caches and the data of local runs
	@# What is running is stopped first: without its data folder nobody would know of it. 2: it says itself why it cannot be.
	@test ! -f .recourse/stack.json -o ! -x $(BIN)/recourse || $(BIN)/recourse stack stop || test $$? -ne 2
	@rm -rf .venv .recourse .pytest_cache .ruff_cache .hypothesis .import_linter_cache
