# Every target sets up what it needs; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test lint proto clean
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## install  set up .venv with the project and everything that its tests, demo and lint need
install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

## demo     token ids to fused hidden states through a memory node, on real text (TEXT=file for your own)
demo: install
	$(BIN)/engram-store demo $(TEXT)

## test     all tests that run in minutes
test: install
	$(BIN)/pytest

## lint     ruff, mypy and buf
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

## proto    generate the Python code of the wire from proto/
proto: $(PROTO_VENV)/installed
	$(PROTO_VENV)/bin/python -m grpc_tools.protoc --proto_path=proto --python_out=proto --pyi_out=proto \
		--grpc_python_out=proto proto/engram_store/v1/*.proto

## clean    remove what the targets above made
clean:
	rm -rf $(VENV) $(PROTO_VENV) .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
