# Two commands on a fresh machine: `make demo` (set-up and the main job) and `make test` (set-up and the tests).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= runs/demo
REFERENCE ?= ../shared

.PHONY: demo test test-slow test-reference lint format docs bench chaos clean help

help:
	@echo "make demo       set up, generate videos, train, test, draw (about 5 minutes on 2 cores)"
	@echo "make test       set up and run the tests"
	@echo "make test-slow  the tests marked slow (about 15 minutes on 2 cores)"
	@echo "make lint       check style; make format mends it"
	@echo "make bench      everything measured against plain PyTorch (under 15 minutes on 2 cores)"
	@echo "make chaos      kills, full disks, lost processes, NaN: what docs/RELIABILITY.md claims (about 30 minutes on 2 cores)"
	@echo "make docs       write docs/CONFIG.md from the table of keys, MODEL_ZOO.md from the recipes"

$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,lint]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python tools/demo.py --out $(OUT)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" -q

# REFERENCE: the folder of real videos and golden values, where there is one.
test-reference: $(STAMP)
	UNIFORMER_REFERENCE=$(REFERENCE) $(BIN)/python -m pytest tests/test_reference.py -q

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python tools/benchmark.py table

chaos: $(STAMP)
	$(BIN)/python tools/chaos.py all --out runs/chaos

docs: $(STAMP)
	$(BIN)/python -m uniformer_video.config.document
	$(BIN)/python tools/model_zoo.py

clean:
	rm -rf $(VENV) build *.egg-info
