# Everything a person does here, one word each. `make help` lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
UV_VERSION := 0.13.9
RATE ?=
SECONDS ?= 60
ROOMS ?= fused
REPORT ?= reports/demo.json
DATA ?= ../shared/data
BENCH ?=
PAYLOADS ?= 1000000
PEERS := bytewax faststream faust quix
FAULTS ?=
MODES ?= effective transactional
ROOMS_DRILLED ?= apart
SEED ?= 1
TIMES ?= 1

.PHONY: help setup demo test test-windows check test-all docs lock drill drill-cluster peers bench-stream bench-modes bench-telemetry bench-beside bench-overload bench-live bench-steering bench-steering-drawn bench-steering-heaps bench-shared fuzz models clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with everything, hashes checked

# The lock is whole: nothing is resolved (--no-deps), and nothing overridden (--no-config: an override of pyproject.toml would
# put the newest release in the place of the locked one, whose hash is not here).
# UV_TORCH_BACKEND=cpu fetches a torch without CUDA (a fifth of the size) from torch's own index; its
# hashes are others, so the lock's are not asked for then.
# The simulator is compiled here, for the first rooms that start have better things to do than to compile it.
$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Guidevane needs Python 3.11 or newer: make PYTHON=python3.12 setup")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	$(BIN)/uv pip install --no-config --no-deps --python $(BIN)/python $(if $(UV_TORCH_BACKEND),--no-verify-hashes,--require-hashes) -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -c 'from guidevane.control.guiding import rehearse; rehearse()'
	touch $@

demo: $(STAMP) ## real census records from Kafka to decisions, for a minute: 100/s, then 300/s (RATE: steady; SECONDS, ROOMS, REPORT, FIXED=1)
	$(BIN)/guidevane demo employment $(if $(RATE),--rate $(RATE)) $(if $(FIXED),--fixed) --seconds $(SECONDS) --rooms $(ROOMS) --report $(REPORT)

test: $(STAMP) ## every test, with the real Kafka and the real Ray
	CI=$(CI) $(BIN)/python -m pytest -q

test-windows: $(STAMP) ## the room that holds windows, killed ten times in each mode: its features equal those of training
	WINDOW_KILLS=10 $(BIN)/python -m pytest -q -rA tests/integration/test_windows_killed.py
	WINDOW_KILLS=10 WINDOW_DELIVERY=transactional $(BIN)/python -m pytest -q -rA tests/integration/test_windows_killed.py

check: $(STAMP) ## style, types, import rules, contracts: what takes seconds
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/guidevane schemas check
	$(BIN)/guidevane check employment
	$(BIN)/guidevane check electricity

test-all: check test ## what a change must pass

docs: $(STAMP) ## write again what is made from code
	$(BIN)/python -m guidevane.telemetry.names > docs/metrics.md

lock: ## resolve requirements/ again, within the ranges of pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
		--extra local --extra train --group dev pyproject.toml -o requirements/dev.txt
	for peer in $(PEERS); do $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
		--no-config --no-emit-index-url requirements/peers/$$peer.in -o requirements/peers/$$peer.txt; done

peers: $(PEERS:%=.guidevane/peers/%/.made) ## environments for those that bench-stream compares with, one each

# The models' libraries are the project's own, found after the peer's: everybody computes with the same torch.
# --no-config: what pyproject.toml overrides for ourselves, uv would override in a peer's lock, too.
.guidevane/peers/%/.made: requirements/peers/%.txt | $(STAMP)
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(@D)
	$(BIN)/uv pip install --no-config --quiet --python $(@D)/bin/python --require-hashes -r $<
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/models.pth"
	touch $@

bench-stream: $(STAMP) peers ## the platform against a bare loop, a relay and its peers (BENCH="--only fused,bare --rounds 1")
	$(BIN)/python -m loadtests.stream $(BENCH)

bench-modes: $(STAMP) ## what the transactional mode costs, beside the effective one: under two minutes
	$(BIN)/python -m loadtests.modes

bench-telemetry: $(STAMP) ## what share of the hot path telemetry takes, in one process: a minute
	$(BIN)/python -m loadtests.telemetry

bench-beside: $(STAMP) ## what monitors and admin take by the event, in one process (BENCH="--broker": read from a real Kafka)
	$(BIN)/python -m loadtests.beside $(BENCH)

bench-overload: $(STAMP) ## half again what emulated members on Ray can do: answered in time, by slack and as it comes; two minutes
	$(BIN)/python -m loadtests.overload

bench-live: $(STAMP) ## the controller on real Kafka and Ray, against Ray's autoscaler and a static peak: 105 min, goes on where it stopped (BENCH="--trials 1")
	$(BIN)/python -m loadtests.live $(BENCH)

bench-steering: $(STAMP) ## who steers best, on simulated clusters (FULL=1: all cells and seeds; BENCH="--only 'image-*'")
	$(BIN)/python -m loadtests.steering.bench $(if $(FULL),--full) $(BENCH)

bench-steering-heaps: $(STAMP) ## the same on events that come in heaps
	$(BIN)/python -m loadtests.steering.bench --heaps $(BENCH)

bench-steering-drawn: $(STAMP) ## the same on random graphs and traffic, those held out apart
	$(BIN)/python -m loadtests.steering.bench --drawn $(BENCH)
	$(BIN)/python -m loadtests.steering.bench --held-out $(BENCH)

bench-shared: $(STAMP) ## Faro's ten jobs on 36 and 32 replicas, 1.5 times overload, the planner against the greedy one
	$(BIN)/python -m loadtests.steering.faro
	$(BIN)/python -m loadtests.steering.overload
	$(BIN)/python -m loadtests.steering.planning

fuzz: $(STAMP) ## a million mutants of events through decoding, contract and ingest: nothing may crash (PAYLOADS)
	$(BIN)/python tests/fuzzing.py --payloads $(PAYLOADS)

# FAULTS names some (kill, broker-kill, ...); MODES and ROOMS_DRILLED say how it runs meanwhile.
drill: $(STAMP) ## break everything under load and judge what Kafka holds (FAULTS, TIMES, MODES, ROOMS_DRILLED, SEED)
	$(BIN)/guidevane drill $(foreach f,$(FAULTS),--fault $(f)) $(foreach m,$(MODES),--mode $(m)) --rooms $(ROOMS_DRILLED) \
		--seed $(SEED) --times $(TIMES) --json reports/drill.json --report reports/drill.md

drill-cluster: $(STAMP) ## the faults of a cluster, on three brokers of our own (the same names)
	$(BIN)/guidevane drill --cluster $(foreach f,$(FAULTS),--fault $(f)) $(foreach m,$(MODES),--mode $(m)) --rooms $(ROOMS_DRILLED) \
		--seed $(SEED) --times $(TIMES) --json reports/drill-cluster.json --report reports/drill-cluster.md

models: $(STAMP) ## train the examples' models again (DATA names the census records and the market's readings)
	$(BIN)/python -m guidevane.pipelines.employment.train --data $(DATA)
	$(BIN)/python -m guidevane.pipelines.electricity.train --data $(DATA)

clean: ## remove what was made, the local platform's state included
	rm -rf $(VENV) .guidevane reports dist .mypy_cache .ruff_cache .pytest_cache
