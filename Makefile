# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test fuzz lint bench documents clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab,dev]'
	touch $@

## demo: train a small network from four initializations on real digits; ends with the path of a report
demo: $(READY)
	$(BIN)/corrinit demo

## test: run all tests
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --quiet

## fuzz: damaged files of all kinds and careless calls from a seed that is printed, and every failing call
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.drills --files 20000
	OMP_NUM_THREADS=1 CORRINIT_DRILLS=all $(BIN)/python -m pytest --quiet tests/drills/test_disk.py

## lint: style, types and the direction of imports
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

## bench: measured ratios beside their targets
bench: $(READY)
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

## documents: make every document that quotes runs or computations again; their HTML reports stay out of git
documents: $(READY)
	$(BIN)/corrinit report results/cifar10-jpeg --paper all --scale cpu --cifar10 parquet:cifar10-jpeg \
	    --cifar100 none --correlation default --markdown docs/reproduction.md -o results/reproduction.html
	$(BIN)/corrinit report results/cifar10-jpeg results/digit-images --markdown docs/comparison.md \
	    -o results/comparison.html
	$(BIN)/corrinit theory --all --markdown docs -o results/theory.html
	$(BIN)/python experiments/endpoints.py --minutes 0

clean:
	rm -rf $(VENV) runs report.html .pytest_cache .ruff_cache .hypothesis
