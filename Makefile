# Everything a stranger needs: Python >= 3.11, make, and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
# On Linux the package index gives torch with CUDA, some 3 GB. CPU=1 takes the build for processors, 200 MB, from
# PyTorch's own index; TORCH_INDEX names another.
CPU ?=
TORCH_INDEX ?= $(if $(CPU),https://download.pytorch.org/whl/cpu)
CONSTRAINTS ?= constraints.txt
LOWEST ?= constraints-lowest.txt
LOWEST_PYTHON ?= python3.11
LOWEST_TESTS ?= tests src
# empty runs the slow ones too, an hour on two cores
LOWEST_MARK ?= and not slow

.PHONY: demo test test-cluster test-slow test-browser test-lowest lint bench clean
# those of the benchmarks that are there, in this order
BENCHMARKS := $(wildcard $(patsubst %,benchmarks/%.py,analysis_cost against_plain half_precision memory training frozen features sizes))
GOALS ?= runs/bench.jsonl

demo: $(VENV)/.ready
	$(BIN)/lorascope run configs/demo.yaml --out $(OUT)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not cluster and not slow'

# every sickness planted, everything that PEFT can write, simulations at size: tens of minutes
test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 -m slow

# a Ray cluster of two nodes on loopback; one to two minutes, so it is not among the others (CI runs it where time is left)
test-cluster: $(VENV)/.ready
	$(BIN)/python -m pytest -m cluster tests/work

# the report in a real browser: needs Chromium (apt install chromium, or CHROMIUM=path)
test-browser: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[browser]'
	$(BIN)/python -m pytest -m browser tests/report

# The oldest versions that pyproject.toml allows, in an environment of their own; some of them have no wheels for a Python
# after 3.11. Without CPU=1 it is another 3 GB. The benchmarks reach into Trainer, and hold for constraints.txt alone.
test-lowest:
	$(MAKE) .venv-lowest/.ready VENV=.venv-lowest CONSTRAINTS=$(LOWEST) PYTHON=$(LOWEST_PYTHON)
	.venv-lowest/bin/python -m pytest -n 2 --dist loadfile -m 'not cluster $(LOWEST_MARK)' \
		--ignore tests/test_benchmarks.py $(LOWEST_TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_documents.py

bench: $(VENV)/.ready
	@mkdir -p $(dir $(GOALS)) && rm -f $(GOALS)
	@for program in $(BENCHMARKS); do echo "== $$program"; LORASCOPE_BENCH_JSON=$(GOALS) $(BIN)/python $$program $(BENCH) || exit 1; done
	@echo "== goals" && $(BIN)/python benchmarks/measure.py $(GOALS)

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "lorascope needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
		echo "no GPU seen: make $(MAKECMDGOALS) CPU=1 takes a torch of 200 MB instead of 3 GB"; fi
	@$(if $(TORCH_INDEX),echo "torch from $(TORCH_INDEX)" && $(BIN)/python -m pip install --quiet --no-deps \
		--index-url $(TORCH_INDEX) --constraint $(CONSTRAINTS) torch || { echo "no such torch at $(TORCH_INDEX);" \
		"without CPU=1 and TORCH_INDEX it comes from the package index"; exit 1; })
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) \
		--editable '.[offline,synthetic,hub,audformat,classic,acoustics,recognition,cluster,dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest build dist runs
