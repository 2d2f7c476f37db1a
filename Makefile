# make            what can be made
# make video      sets up what is missing, makes a video, says where it is
# make serve      sets up what is missing, starts the studio, the Videos API and a worker
# make test       sets up what is missing, checks and tests everything

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The prompt reaches the recipe through the environment and never as text of the recipe: a sentence may hold
# quotes, dollars and apostrophes. $(value ...) and unexport keep make itself from expanding it.
PROMPT ?= a red balloon rises over the sea at sunset
SIZE ?=
OUT ?=
unexport PROMPT SIZE OUT
export HIBARI_MAKE_PROMPT := $(value PROMPT)
export HIBARI_MAKE_SIZE := $(value SIZE)
export HIBARI_MAKE_OUT := $(value OUT)

.DEFAULT_GOAL := help
.PHONY: help video serve test clean

help:
	@echo 'make video PROMPT="a red balloon rises over the sea at sunset" [SIZE=512x512] [OUT=balloon.mp4]'
	@echo '            sets up .venv if there is none, makes the video, says where it is'
	@echo 'make serve  the studio and the Videos API on http://127.0.0.1:8000'
	@echo 'make test   lint, types, the import picture and all tests'
	@echo 'make clean  removes .venv and the caches'

video: $(VENV)/.installed
	@set -- --; \
	if [ -n "$$HIBARI_MAKE_SIZE" ]; then set -- --size "$$HIBARI_MAKE_SIZE" "$$@"; fi; \
	if [ -n "$$HIBARI_MAKE_OUT" ]; then set -- --output "$$HIBARI_MAKE_OUT" "$$@"; fi; \
	exec $(BIN)/hibari generate "$$@" "$$HIBARI_MAKE_PROMPT"

serve: $(VENV)/.installed-server
	exec $(BIN)/hibari serve

test: $(VENV)/.installed-dev
	scripts/need-font
	scripts/need-postgres
	scripts/need-chromium
	scripts/build-studio --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses auto --dist worksteal

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The stamps are younger than what they were installed from; pip runs again only when that changes.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-server: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed-server $(VENV)/.installed

$(BIN)/python:
	scripts/make-venv $(PYTHON) $(VENV)
