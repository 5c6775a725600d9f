# `make demo` and `make test` need Python 3.10 or later, a C++17 compiler and make, and set up the rest in
# .venv. `make help` lists everything.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
CMAKE  := $(BIN)/cmake
SOURCES := $(shell find csrc -type f) CMakeLists.txt pyproject.toml constraints.txt

.PHONY: help demo test test-cpp test-python types lint sanitize bench verify-gpu format ptx clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/demo  ## train a small classifier and print its log lines (ARGS=--by-iter)
	$(BIN)/python examples/digits.py $(ARGS)

test: test-cpp test-python types lint  ## everything that must pass

test-cpp: $(VENV)/test  ## the C++ core alone
	$(CMAKE) -S . -B build/cpp -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	  -DRINGMETER_PYTHON=OFF -DRINGMETER_TESTS=ON --log-level=WARNING
	$(CMAKE) --build build/cpp
	$(BIN)/ctest --test-dir build/cpp --output-on-failure

test-python: $(VENV)/test  ## the package, with its doctests
	$(BIN)/python -m pytest -q

types: $(VENV)/test  ## mypy --strict, and the stub of the extension against the extension
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest ringmeter._core

lint: $(VENV)/test  ## ruff, clang-format
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/clang-format --dry-run --Werror csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu tests/*/*.h tests/*/*.cpp

sanitize: $(VENV)/test  ## the C++ tests under ThreadSanitizer, and under ASan with UBSan
	for sanitizer in thread address,undefined; do \
	  build=build/cpp-$${sanitizer%,*}; \
	  $(CMAKE) -S . -B $$build -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	    -DRINGMETER_PYTHON=OFF -DRINGMETER_TESTS=ON -DRINGMETER_SANITIZE=$$sanitizer --log-level=WARNING && \
	  $(CMAKE) --build $$build && \
	  $(BIN)/ctest --test-dir $$build --output-on-failure || exit 1; \
	done

bench: $(VENV)/test  ## measure against the peers; writes benches/results/ and the table of the README
	$(BIN)/python benches/run.py --out benches/results/cpu.json
	$(BIN)/python benches/table.py benches/results/cpu.json --readme README.md

verify-gpu:  ## check and measure on this machine's NVIDIA GPU, with the torch of PYTHON (10 minutes)
	$(PYTHON) benches/gpu/verify.py $(ARGS)

format: $(VENV)/test  ## put the code into shape
	$(BIN)/python -m ruff check --fix-only .
	$(BIN)/python -m ruff format .
	$(BIN)/clang-format -i csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu tests/*/*.h tests/*/*.cpp

ptx:  ## the kernels' text again from csrc/device/append.cu; only this needs nvcc
	csrc/device/make_ptx.sh

clean:  ## remove what was built, and .venv
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install -q -U 'pip>=25.1'
	touch $@

$(VENV)/package: $(VENV)/pip $(SOURCES)
	$(PIP) -e .
	touch $@

$(VENV)/demo: $(VENV)/package
	$(PIP) --group demo
	touch $@

$(VENV)/test: $(VENV)/package
	$(PIP) --group demo --group test --group peers --group frameworks --group sinks --group lint
	touch $@
