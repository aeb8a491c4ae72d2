# The only door: people and CI go through these targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
, := ,
READY := .venv/.ready
LIBS := events store kafka projections deciding chassis
PACKAGES := $(addprefix libs/,$(LIBS)) libs/stack services/contacts services/analytics services/sales
OWN_MODULES := $(subst $() ,$(,),$(foreach lib,$(LIBS),kith-$(lib)=crm_$(lib)))
EDITABLE := $(foreach package,$(PACKAGES),-e $(package))

.PHONY: help demo test fault bench lint types fmt lock clean generate

help: ## what can be done here
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

# uv where it is present, otherwise pip in a private environment; every hash is checked.
# The build backend comes from the same lock, so no build reaches for anything else.
$(READY): requirements.lock $(addsuffix /pyproject.toml,$(PACKAGES))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Kith needs Python 3.11 or later; PYTHON=... names another one" >&2; exit 1; }
	@echo "Preparing .venv (once) ..."
	@set -e; if command -v uv >/dev/null 2>&1; then \
	  test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) .venv; \
	  uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock; \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(EDITABLE); \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv .venv; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(EDITABLE); \
	fi
	@touch $@

demo: $(READY) ## stream real purchase history through everything (FULL=1: all of it, CHECK=1: verify and end)
	@$(BIN)/python -m demo $(if $(FULL),--full) $(if $(CHECK),--check)

test: $(READY) ## every tier but the long ones, on real servers (ARGS=... goes to pytest)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

fault: $(READY) ## faults under load, judged (ROUNDS=100 SEED=n FAULTS=relay.,postgres.kill LONG_OUTAGE=600)
	@$(BIN)/python -m tests.fault $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(FAULTS),--faults $(FAULTS)) $(if $(LONG_OUTAGE),--long-outage $(LONG_OUTAGE))

bench: $(READY) ## the figures, beside their ceilings (ROWS=a,b RUNS=n QUICK=1 PEERS=1 GROWTH=1e7)
	@$(BIN)/python -m tests.bench $(if $(ROWS),--rows $(ROWS)) $(if $(RUNS),--runs $(RUNS)) \
	  $(if $(QUICK),--quick) $(if $(PEERS),--peers) $(if $(GROWTH),--growth $(GROWTH))

lint: $(READY) ## ruff, import contracts, unused and missing dependencies
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/lint-imports --no-cache --no-logo --config .importlinter-pure
	@for package in $(PACKAGES); do told=$$(cd $$package && $(CURDIR)/$(BIN)/deptry --no-ansi src \
	  --package-module-name-map $(OWN_MODULES) 2>&1) || { echo "$$told"; exit 1; }; done

types: $(READY) ## basedpyright, strict
	@$(BIN)/basedpyright

fmt: $(READY) ## format, and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: $(READY) ## write JSON Schemas and the AsyncAPI document anew from the event classes
	@$(BIN)/python -m crm_events.schemas
	@$(BIN)/python -m crm_events.asyncapi

lock: $(READY) ## renew requirements.lock and the peers' own (hashes, no hosts)
	@$(BIN)/uv lock --quiet --upgrade
	@$(BIN)/uv export --quiet --all-packages --all-groups --no-emit-workspace --no-header --output-file requirements.lock >/dev/null
	@$(BIN)/uv lock --quiet --upgrade --project tests/bench/peers
	@$(BIN)/uv export --quiet --all-groups --no-header --project tests/bench/peers \
	  --output-file tests/bench/peers/requirements.lock >/dev/null

clean: ## remove the environment and what tests and the demo left
	@rm -rf .venv .kith .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
