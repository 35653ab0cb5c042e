# Every target is one obvious command. The first two set everything up by themselves.
PROMPT ?= a red lighthouse on an island at sunset
FUZZ_SECONDS ?= 600
# where torch comes from first: an index of one of its builds, such as the CPU's; else PyPI
TORCH_INDEX ?=
PY := .venv/bin/python
PIP := .venv/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help draw test test-slow test-gpu fuzz check bench bench-peers bench-gpu setup clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

draw: .venv/core  ## set up if needed, and draw: make draw PROMPT="a white cat in the snow"
	@.venv/bin/fromnoise "$(PROMPT)"

test: .venv/dev  ## set up if needed, and run the checks and the tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile -m "not slow and not gpu"

test-slow: .venv/dev  ## the tests that take minutes: full-size networks against diffusers
	$(PY) -m pytest -m slow

test-gpu: .venv/dev  ## the tests that need a CUDA device, and torch with CUDA
	$(PY) -m pytest -m gpu -rs

fuzz: .venv/dev  ## damaged files of weights without end: make fuzz FUZZ_SECONDS=3600
	$(PY) tests/weights/fuzzing.py --seconds $(FUZZ_SECONDS)

check: .venv/dev  ## lint, format and types only
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

bench: .venv/core  ## measure: whole processes, beside what Python and torch need alone
	$(PY) benchmarks/run.py

bench-peers: .venv/bench  ## measure beside diffusers, OpenVINO and stable-diffusion.cpp; needs a quiet hour
	$(PY) -m benchmarks.peers --picture --write --json runs/peers/results.json

bench-gpu: .venv/dev  ## measure a graphics card beside diffusers: prints a table
	$(PY) -m benchmarks.gpu

setup: .venv/dev  ## set up for development

clean:  ## remove what the targets above made
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist

.venv/bin/pip:
	python3 -m venv .venv

.venv/core: .venv/bin/pip pyproject.toml constraints.txt
	$(PIP) $(TORCH_INDEX:%=--extra-index-url %) torch
	$(PIP) --editable .
	@touch $@

.venv/dev: .venv/core
	$(PIP) --editable '.[dev,oracle]'
	@touch $@

.venv/bench: .venv/core
	$(PIP) --editable '.[bench]'
	@touch $@
