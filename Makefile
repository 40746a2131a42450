# Everything that needs Python runs in .venv, which is made on first use and again when the dependencies change.
PYTHON ?= python3
BIN := .venv/bin
DEMO := outputs/demo_$(shell date +%Y-%m-%d_%H-%M-%S)
DRAWN := data=synthetic backbone=resnet18 data.num_workers=0 runs=$(DEMO)
# What the article's network begins from: torchvision's own weights, which are downloaded, or a file.
WEIGHTS ?= IMAGENET1K_V1

# Two test files at a time; what tests of a file share is made once. Each process takes a few gigabytes.
SIDE_BY_SIDE ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo reproduce-article test test-fast campaign lint format docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | awk -F'|' '{printf "  make %-17s %s\n", $$1, $$2}'

install: .venv/installed  ## Make .venv and install the project into it, with the tested versions

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,sweep,search,explain,serve,export,timm,parquet,heif]'
	@touch $@

demo: install  ## Offline: pretrain on drawn flowers, transfer to other flowers, compare three strategies with three seeds
	$(BIN)/python -m flowers_tl.train $(DRAWN) strategy=from_scratch hydra.run.dir=$(DEMO)/source \
	    data.first_species=1000 data.num_classes=24 data.train_per_class=50 data.test_per_class=5 trainer.max_epochs=5
	$(BIN)/python -m flowers_tl.train -m $(DRAWN) strategy=from_scratch,feature_extraction,fine_tuning seed=0,1,2 hydra.sweep.dir=$(DEMO)/target \
	    data.first_species=0 data.num_classes=12 data.train_per_class=10 trainer.max_epochs=12 backbone.weights=$(DEMO)/source/checkpoints/last.ckpt
	$(BIN)/python -m flowers_tl.compare $(DEMO)/target

reproduce-article: install  ## Train the article's two strategies with three seeds and check its accuracies; WEIGHTS=FILE for other weights
	$(BIN)/python -m benchmarks.article weights=$(WEIGHTS) claims=false check=true out=outputs/article_$(basename $(notdir $(WEIGHTS)))

test: install  ## Pass all tests; those on real images run where FLOWERS102_ROOT and FLOWERS_TL_WEIGHTS are set
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-fast: install  ## Pass the tests that take seconds
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not real_data"

campaign: install  ## Attack each promise of docs/reliability.md, for hours, and write its table
	$(BIN)/python -m tests.campaign long=true

lint: install  ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## Fix style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## Write the tables of keys in docs/ again from the schema
	$(BIN)/python tests/generated_docs.py

clean:  ## Remove .venv and caches; outputs and data stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
