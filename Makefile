# `make demo` shows what it does, `make test` proves it, `make docs` builds site/. All need Python 3.11 or newer, with pip.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= .demo
JOBS   ?= 3

.PHONY: install demo docs test test-all test-faults lint clean

install: $(VENV)/.installed

# torch goes first and is pinned: left to themselves, timm and torchvision would replace it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/python -m demo.build --out $(DEMO)
	$(BIN)/hf-sfda rank --dataset $(DEMO)/data/emoji --models $(DEMO)/zoo/image --out runs/emoji
	$(BIN)/hf-sfda rank --dataset $(DEMO)/data/movie/train.csv --models $(DEMO)/zoo/text --out runs/movie

# Strict: a broken link or reference fails. The variable silences a notice of the theme.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tests also wait for servers and other processes: three at once keep two cores busy. A file stays in
# one of them, so that what its tests share is made once. Compiled modules are kept whatever the
# environment says, or each process that a test starts would compile the whole package again.
PYTEST := PYTHONDONTWRITEBYTECODE= HF_SFDA_DEMO_DIR=$(CURDIR)/$(DEMO) \
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST) -m "not slow and not hours"

# What CI runs: also every architecture, the demo's zoo, outages at every request, the whole browser
# matrix, and the tests of the test Hub. The tests of the demo reuse what `make demo` built, or build
# it there.
test-all: lint
	$(PYTEST) -m "not hours"

# Kills, full disks and an ill Hub at every place of every command: an hour or more.
test-faults: install
	$(PYTEST) -m hours
	HF_SFDA_RANDOM_INPUTS=10000 $(BIN)/python -m pytest tests/test_scoring_inputs.py --timeout 3000

clean:
	rm -rf $(VENV) $(DEMO) runs dist site
