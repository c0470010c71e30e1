# Every target sets up what it needs; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test test-lowest bench-backends bench-hashing bench-attach bench-cold-rows lint proto clean
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## install         set up .venv with the project and everything that its tests, demo and lint need
install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

## demo            token ids to fused hidden states through a memory node, on real text (TEXT=file for your own)
demo: install
	$(BIN)/engram-store demo $(if $(TEXT),"$(TEXT)")

## test            all tests that run in minutes
test: install
	$(BIN)/pytest

# The client must install into environments that pin old versions: its tests once more, with the lowest it is promised to
# run with. They need no server: the nodes they speak to are scripted.
LOWEST_VENV := .venv-lowest
$(LOWEST_VENV)/installed: Makefile pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-lowest.txt \
		--editable . hypothesis ml_dtypes pytest pytest-asyncio pytest-timeout
	@touch $@

## test-lowest     the client's tests with the lowest versions of its dependencies
test-lowest: $(LOWEST_VENV)/installed
	$(LOWEST_VENV)/bin/pytest tests/engram_store tests/engram_client/test_misbehaving_nodes.py \
		tests/engram_client/hashing tests/engram_client/test_token_map_file.py \
		tests/engram_client/test_formats.py tests/engram_client/test_formats_quantized.py

## bench-backends  rows a second of each backend through a node, as ratios in one run
bench-backends: install
	$(BIN)/python tests/bench/backends.py

## bench-hashing   hashing 8,192 tokens beside the bare remainders that it must take
bench-hashing: install
	$(BIN)/python tests/bench/hashing.py

## bench-attach    a checkpoint of full size, from nothing to its first rows
bench-attach: install
	$(BIN)/python tests/bench/attach.py

## bench-cold-rows rows that are not in memory: read ahead beside faulted in one by one (writes 4 GiB)
bench-cold-rows: install
	$(BIN)/python tests/bench/cold_rows.py

## lint            ruff, mypy and buf
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint proto

# Generated with an old, pinned compiler on purpose: its output imports with protobuf 5.29 and with the newest. It needs
# packages of its own that the project's environment does not hold.
PROTO_VENV := .venv-proto
$(PROTO_VENV)/installed: Makefile
	$(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/pip install --quiet --disable-pip-version-check grpcio-tools==1.64.3 protobuf==5.29.6 'setuptools<81'
	@touch $@

## proto           generate the Python code of the wire from proto/
proto: $(PROTO_VENV)/installed
	$(PROTO_VENV)/bin/python -m grpc_tools.protoc --proto_path=proto --python_out=proto --pyi_out=proto \
		--grpc_python_out=proto proto/engram_store/v1/*.proto

## clean           remove what the targets above made
clean:
	rm -rf $(VENV) $(PROTO_VENV) .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
