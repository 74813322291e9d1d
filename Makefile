# Each target makes its own environment in .venv; PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install demo test lint clean

install: $(INSTALLED)

# Text in, benchmarked int8 .tflite out, on text that this machine has.
demo: $(INSTALLED)
	$(VENV)/bin/python -m demo.run --output_dir=out/demo

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(INSTALLED): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --upgrade pip
	$(VENV)/bin/pip install -q -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) out *.egg-info
