# Everything a stranger needs: Python >= 3.11, make, and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo

.PHONY: demo test test-cluster lint bench clean
# those of the benchmarks that are there, in this order
BENCHMARKS := $(wildcard $(patsubst %,benchmarks/%.py,analysis_cost against_plain half_precision memory training frozen features sizes))
GOALS ?= runs/bench.jsonl

demo: $(VENV)/.ready
	$(BIN)/lorascope run configs/demo.yaml --out $(OUT)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not cluster'

# a Ray cluster of two nodes on loopback; one to two minutes, so it is not among the others (CI runs it where time is left)
test-cluster: $(VENV)/.ready
	$(BIN)/python -m pytest -m cluster tests/work

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

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "lorascope needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[offline,synthetic,hub,audformat,classic,cluster,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist runs
