# Everything a developer or a CI needs. `make` alone lists it. Python 3.11+ and make are enough:
# every target that needs the virtual environment makes it first, and again only when
# pyproject.toml has changed.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
KEEP ?=
ARGS ?=
export KEEP

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets
	@echo "tupelo: a space-based in-memory data grid whose processing units are Python"
	@echo
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
	    awk 'BEGIN {FS = ":.*## "} {printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh $(VENV) $(STAMP)

.PHONY: install
install: $(STAMP)  ## Make .venv and install the project and its tools into it

.PHONY: demo
demo: $(STAMP)  ## Run a grid on a real day of flights under load (KEEP=1: leave it running)
	@$(BIN)/python -m loadtest.demo $(ARGS)

.PHONY: test
test: $(STAMP)  ## Run all tests (ARGS=... goes to pytest)
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: $(STAMP) lint types imports proto-check sync-check tidy  ## All checks that run no grid

.PHONY: lint
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP)
	$(BIN)/mypy

.PHONY: imports
imports: $(STAMP)
	$(BIN)/lint-imports --no-logo

.PHONY: tidy
tidy: $(STAMP)
	$(BIN)/python -m pytest tests/tidy

.PHONY: format
format: $(STAMP)  ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: proto
proto: $(STAMP)  ## Generate client/tupelo/v1 from proto/
	$(BIN)/python scripts/proto.py

.PHONY: proto-check
proto-check: $(STAMP)  ## Compare client/tupelo/v1 with what proto/ says
	$(BIN)/python scripts/proto.py --check

.PHONY: sync
sync: $(STAMP)  ## Generate the synchronous client from client/tupelo/_async
	$(BIN)/python scripts/make_sync.py

.PHONY: sync-check
sync-check: $(STAMP)  ## Compare the synchronous client with its source
	$(BIN)/python scripts/make_sync.py --check

.PHONY: pin
pin: $(STAMP)  ## Accept the public API as it is now (tests/tidy/public_api.txt)
	$(BIN)/python -m tests.tidy.public_api

.PHONY: bench
bench: $(STAMP)  ## Measure the SDK against a grid of three units
	@$(BIN)/python -m benchmarks.sdk --seconds 5 --json $(ARGS)

.PHONY: peers
peers: $(STAMP)  ## Measure the grid beside other systems; installs them (half an hour)
	@$(BIN)/python -m benchmarks.peers --install
	@$(BIN)/python -m benchmarks.peers --plot $(ARGS)

.PHONY: clean
clean:  ## Remove .venv and everything generated that is not committed
	rm -rf $(VENV) dist build results .tupelo .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .hypothesis .benchmarks
	find client grid tests engines loadtest benchmarks processing-units scripts \
	    -name __pycache__ -type d -prune -exec rm -rf {} +
