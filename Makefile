# Each target makes its own environment in .venv; PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
PARITY_INSTALLED := $(VENV)/installed_parity
BEAM_VENV := .venv-beam
BEAM_INSTALLED := $(BEAM_VENV)/installed
# Client libraries as apps use them. Their pins clash with TensorFlow's and with
# one another; nothing of the project is installed there.
MEDIAPIPE_VENV := .venv-mediapipe
MEDIAPIPE_INSTALLED := $(MEDIAPIPE_VENV)/installed
MEDIAPIPE := mediapipe==1.2.2
TASK_LIBRARY_VENV := .venv-task-library
TASK_LIBRARY_INSTALLED := $(TASK_LIBRARY_VENV)/installed
TASK_LIBRARY := tflite-support==0.4.4
# Task Library has wheels for Python 3.9 to 3.11.
TASK_LIBRARY_PYTHON ?= $(PYTHON)
HUGGINGFACE_VENV := .venv-huggingface
HUGGINGFACE_INSTALLED := $(HUGGINGFACE_VENV)/installed
# Processes of a test run; a file's tests stay together.
WORKERS ?= 2
PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install demo test test-slow test-parity test-beam test-clients \
	huggingface lint clean

install: $(INSTALLED)

# Text in, benchmarked int8 .tflite out, on text that this machine has.
demo: $(INSTALLED)
	$(VENV)/bin/python -m demo.run --output_dir=out/demo

test: $(INSTALLED)
	$(PYTEST)

# Whole runs of many processes or steps, which `make test` leaves out.
test-slow: $(INSTALLED)
	$(VENV)/bin/python -m pytest -m slow

# Against Hugging Face's PyTorch MobileBERT, which `make test` does without.
test-parity: $(PARITY_INSTALLED)
	$(PYTEST) tests/parity

# On Apache Beam, in an environment of its own: it brings many packages.
test-beam: $(BEAM_INSTALLED)
	$(BEAM_VENV)/bin/python -m pytest tests/data/beam_builder_test.py

# Exported files in MediaPipe Tasks and the TFLite Task Library.
test-clients: $(INSTALLED) $(MEDIAPIPE_INSTALLED) $(TASK_LIBRARY_INSTALLED)
	$(VENV)/bin/python -m pytest tests/clients

# Hugging Face's TensorFlow models, with which benchmarks/export_latency.py
# compares: their last releases, in an environment of its own.
huggingface: $(HUGGINGFACE_INSTALLED)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(INSTALLED): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --upgrade pip
	$(VENV)/bin/pip install -q -e '.[test]'
	touch $@

# All extras in one resolution: torch alone would bring a newer setuptools.
$(PARITY_INSTALLED): $(INSTALLED)
	$(VENV)/bin/pip install -q -e '.[test,parity]'
	touch $@

$(BEAM_INSTALLED): setup.py pyproject.toml
	$(PYTHON) -m venv $(BEAM_VENV)
	$(BEAM_VENV)/bin/pip install -q --upgrade pip
	$(BEAM_VENV)/bin/pip install -q -e '.[test,beam]'
	touch $@

$(MEDIAPIPE_INSTALLED):
	$(PYTHON) -m venv $(MEDIAPIPE_VENV)
	$(MEDIAPIPE_VENV)/bin/pip install -q $(MEDIAPIPE)
	touch $@

$(TASK_LIBRARY_INSTALLED):
	$(TASK_LIBRARY_PYTHON) -m venv $(TASK_LIBRARY_VENV)
	$(TASK_LIBRARY_VENV)/bin/pip install -q $(TASK_LIBRARY)
	touch $@

$(HUGGINGFACE_INSTALLED): benchmarks/huggingface_requirements.txt
	$(PYTHON) -m venv $(HUGGINGFACE_VENV)
	$(HUGGINGFACE_VENV)/bin/pip install -q --upgrade pip
	$(HUGGINGFACE_VENV)/bin/pip install -q -r $<
	touch $@

clean:
	rm -rf $(VENV) $(BEAM_VENV) $(MEDIAPIPE_VENV) $(TASK_LIBRARY_VENV) \
		$(HUGGINGFACE_VENV) out *.egg-info
