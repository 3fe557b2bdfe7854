# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test test-frameworks fuzz mutants mutation lint bench documents docs walk wheel-test history clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab,dev]'
	touch $@

## demo: train a small network from five initializations on real digits; ends with the path of a report
demo: $(READY)
	$(BIN)/corrinit demo

## test: run all tests
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --quiet

## test-frameworks: the tests of every other framework, each in an environment that is made and removed
test-frameworks: $(READY)
	$(BIN)/python -m tests.frameworks

## fuzz: damaged and hostile files, careless calls, kills, failing disks and power cuts, from a seed that is printed
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.drills --files 20000 --kills 50 --write

## mutants: put each fault that was once found back, and see that a test notices it
mutants: $(READY)
	$(BIN)/python -m tests.mutants --write

## mutation: change statistics, records and readers in small ways, samples of all, and see how many their tests notice
mutation: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation --write

## lint: style, types, the direction of imports, and workflows and issue forms by the schemas of GitHub
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

## bench: measured ratios beside their targets
bench: $(READY)
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

## documents: make every document that quotes runs or computations again; their HTML reports stay out of git
documents: $(READY)
	$(BIN)/corrinit report results/mini --paper all --scale mini --cifar10 parquet:cifar10-jpeg \
	    --cifar100 parquet:tinyimagenet100-32 --markdown docs/reproduction.md -o results/reproduction.html
	$(BIN)/corrinit report results/cifar10-jpeg results/digit-images --markdown docs/comparison.md \
	    -o results/comparison.html
	$(BIN)/corrinit report results/mini --paper words --scale mini --cifar10 parquet:cifar10-jpeg \
	    --cifar100 none --markdown docs/words.md -o results/words.html
	$(BIN)/corrinit theory --all --markdown docs -o results/theory.html
	$(BIN)/python experiments/endpoints.py --minutes 0
	$(BIN)/python experiments/best_rate.py --minutes 0
	$(BIN)/python experiments/search.py --minutes 0
	$(BIN)/python experiments/presets.py --data parquet:cifar10-jpeg
	$(BIN)/python experiments/demo_candidates.py page
	$(BIN)/python docs/results_table.py

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab,docs,bench]'
	touch $@

## docs: build the site into docs/_build/html; a warning or an internal link to nowhere is an error
docs: $(VENV)/.docs
	rm -rf docs/_build
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

## walk: carry out the tutorial from the built wheel, in an empty folder with an environment of its own
walk: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.walk

## wheel-test: run the tests against the wheel (WHEEL=FILE, or built here) from a folder that holds no source of it
wheel-test: OUTSIDE := $(shell mktemp -d)
wheel-test:
	$(PYTHON) -m venv $(OUTSIDE)/venv
	$(OUTSIDE)/venv/bin/python -m pip install --quiet --upgrade pip
	$(if $(WHEEL),cp $(WHEEL) $(OUTSIDE),$(OUTSIDE)/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir $(OUTSIDE) .)
	$(OUTSIDE)/venv/bin/python -m pip install --quiet --constraint constraints.txt "$$(echo $(OUTSIDE)/*.whl)[lab,dev]"
	mkdir $(OUTSIDE)/tests-alone
	git archive HEAD -- . ':!src' | tar -x -C $(OUTSIDE)/tests-alone
	cd $(OUTSIDE)/tests-alone && OMP_NUM_THREADS=1 ../venv/bin/python -m pytest --numprocesses 2 --quiet tests
	rm -rf $(OUTSIDE)

## history: time this commit and main with asv, and fail where something became slower than 1.3 times
history: $(VENV)/.docs
	cd benchmarks/history && ../../$(BIN)/asv continuous --factor 1.3 --python same main HEAD

clean:
	rm -rf $(VENV) runs report.html .pytest_cache .ruff_cache .hypothesis docs/_build
