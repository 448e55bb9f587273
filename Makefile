# make demo   sets up and runs the main job: untrusted programs, their result and their audit trail
# make test   sets up and runs the tests (at most 20 minutes)
# make soak   the long suites: the interpreter's own tests and stress-ng, natively and inside
# make fuzz   the fuzz targets, 60 seconds each
# make bench  the figures of benchmarks/, in one run, and benchmarks/report.html of them
# make bench-check  the instructions of a served call, which must not have become more
# make bench-peers  install what the benchmarks compare with
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test soak fuzz bench bench-check bench-peers native lint clean packages
demo: $(VENV)/.installed
	$(BIN)/python -m benchmarks.demo

test: $(VENV)/.installed lint native
	$(BIN)/python -m pytest -q --timeout=600 -n auto --dist loadfile tests

lint: $(VENV)/.installed
	$(BIN)/ruff check sandbox tests benchmarks setup.py csrc
	$(BIN)/mypy

# The C units under the address and undefined-behaviour sanitizers.
native: $(VENV)/.installed
	$(MAKE) -s -C tests/native

soak: $(VENV)/.installed
	SANDBOX_SYSTEM_PACKAGES="stress-ng lib$$(basename $$(realpath /usr/bin/python3))-testsuite" ./tests/packages.sh
	$(BIN)/python -m tests.soak

fuzz: $(VENV)/.installed
	SANDBOX_SYSTEM_PACKAGES="clang libclang-rt-dev" ./tests/packages.sh
	$(MAKE) -C tests/fuzz

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks --report benchmarks/report.html

bench-check: $(VENV)/.installed
	SANDBOX_SYSTEM_PACKAGES="valgrind strace" ./tests/packages.sh
	$(BIN)/python -m benchmarks.instructions

bench-peers: $(VENV)/.installed
	./benchmarks/install_peers.sh $(abspath $(BIN)/python)

# Installed anew when the sources change; the executables and the extension are built by setup.py.
$(VENV)/.installed: setup.py pyproject.toml $(wildcard csrc/*.[ch] csrc/*.py csrc/stub/*.[ch]) tests/packages.sh
	./tests/packages.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[bench,test]'
	touch $@

packages:
	./tests/packages.sh

clean:
	rm -rf $(VENV) build dist *.egg-info sandbox/sentry sandbox/stub sandbox/*.so tests/native/build tests/fuzz/build
