# make demo   install into .venv and stylise a real photo offline
# make test   install and run the tests, one process and one thread a core
# make test-ray  install and run the tests that start a Ray cluster and an S3 server, and kill them
# make test-ui  install, with Debian's Chromium where there is none, and use the page in it as people do
# make ui     install and serve the page, to open in a browser
# make check  install, run ruff, mypy and import-linter, and build the documentation
# make docs   install and build the documentation into site/, without a warning or a dead link
# make test-install  build sdist and wheel, install the wheel alone into an empty environment and stylise a picture with it
PYTHON ?= python3
# The CPU build where one is at hand; any torch within pyproject's range works: make TORCH="torch" demo
TORCH ?= torch==2.13.0
BIN := .venv/bin
# For the tables inside (ImageNet's class names); what it would install beside them is not needed.
TABLES := timm==1.0.31
STAMP := .venv/installed

.PHONY: demo ui docs test test-ray test-ui check test-install install clean

install: $(STAMP)

$(STAMP): pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TABLES)
	touch $(STAMP)

demo: install
	$(BIN)/python examples/demo.py

ui: install
	$(BIN)/velatura ui

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-ray: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray tests/test_batch_ray.py tests/test_batch_s3.py

test-ui: install
	test -x /usr/bin/chromium || apt-get install --yes --quiet chromium || (apt-get update --quiet && apt-get install --yes --quiet chromium)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ui tests/test_page_browser.py tests/test_page_troubles.py

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

check: install docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Only what pyproject.toml asks for: what is missing there, or in the sdist that the wheel is built from, shows here.
test-install:
	rm -rf .install-test
	$(PYTHON) -m venv .install-test/venv
	.install-test/venv/bin/python -m pip install --quiet --disable-pip-version-check build
	.install-test/venv/bin/python -m build --outdir .install-test/dist . > .install-test/build.log
	! tar tzf .install-test/dist/velatura-*.tar.gz | grep -E '[.]hypothesis|[.]pyc|/shared/|/site/|/runs/'
	.install-test/venv/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" .install-test/dist/velatura-*.whl
	.install-test/venv/bin/python examples/paint_style.py .install-test/style.png
	cd .install-test && VELATURA_HOME=home venv/bin/velatura stylize style.png --style style.png --size 128 --steps 4 --out out.png
	test -s .install-test/out.png
	rm -rf .install-test

clean:
	rm -rf .venv demo site .install-test
