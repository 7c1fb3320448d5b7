# make demo   install into .venv and stylise a real photo offline
# make test   install and run the tests, one process and one thread a core
# make check  install and run ruff, mypy and import-linter
# make test-install  install the package alone into an empty environment and stylise a picture with it
PYTHON ?= python3
# The CPU build where one is at hand; any torch within pyproject's range works: make TORCH="torch" demo
TORCH ?= torch==2.13.0
BIN := .venv/bin
# For the tables inside (ImageNet's class names); what it would install beside them is not needed.
TABLES := timm==1.0.31
STAMP := .venv/installed

.PHONY: demo test check test-install install clean

install: $(STAMP)

$(STAMP): pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TABLES)
	touch $(STAMP)

demo: install
	$(BIN)/python examples/demo.py

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Only what pyproject.toml asks for: what is missing there shows here.
test-install:
	rm -rf .install-test
	$(PYTHON) -m venv .install-test/venv
	.install-test/venv/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" .
	.install-test/venv/bin/python examples/paint_style.py .install-test/style.png
	cd .install-test && VELATURA_HOME=home venv/bin/velatura stylize style.png --style style.png --size 128 --steps 4 --out out.png
	test -s .install-test/out.png
	rm -rf .install-test

clean:
	rm -rf .venv demo .install-test
