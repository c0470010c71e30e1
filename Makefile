# Every target sets up what it needs; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test test-gpu test-attack test-publish test-operate test-long test-lowest simulate chaos fuzz overload soak upgrade load lint freeze-release proto clean deploy-check deploy-check-broken audit
.PHONY: bench bench-quick bench-growth bench-fan-out bench-plan bench-client-memory bench-backends bench-hashing bench-less-to-send
.PHONY: bench-production bench-attach bench-replaced bench-cold-rows bench-end-to-end
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

# Whole files to a process, as the tests of a file share nodes and tables; in the order of tests/conftest.py, as xdist's own
# has the files of few tests last, which are those that take longest. Every process imports torch, and collects all tests
# in 9 seconds of CPU. Where Python is told not to keep what it compiled, as in images of containers, each of the
# processes would compile everything again.
## test            all tests that run in minutes, in four processes: many wait more than they compute
test: export PYTHONDONTWRITEBYTECODE =
test: install
	$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

# These have not been run yet: nobody of us had a GPU. Each skips, and says why, where torch sees no CUDA device.
## test-gpu        the tests that need a GPU (not yet run on one)
test-gpu: install
	$(BIN)/pytest -m gpu

## test-attack     100,000 fetches into reused buffers, with cancellations, time limits and late replies (minutes)
test-attack: install
	$(BIN)/pytest -m long -o faulthandler_timeout=0 tests/engram_model/test_prefetch_attack.py

## test-publish    50 switches under load, and a publisher killed at 20 points, on real nodes and etcd (minutes)
test-publish: install
	$(BIN)/pytest -m long -o faulthandler_timeout=0 tests/store_server/commands/test_publish_under_load.py \
		tests/store_server/commands/test_publisher_killed.py

## test-long       every test that takes minutes, those of the two targets above among them (an hour)
test-long: install
	$(BIN)/pytest -m long -o faulthandler_timeout=0

# A page for operators is only as good as its commands: all of them, with real certificates, tokens, nodes and etcd.
## test-operate    every command of docs/operate.md and README.md, and what it prints (minutes)
test-operate: install
	$(BIN)/pytest -m 'long or not long' -o faulthandler_timeout=0 tests/docs

# The client must install into environments that pin old versions: its tests once more, with the lowest it is promised to
# run with. They need no server: the nodes they speak to are scripted.
LOWEST_VENV := .venv-lowest
WITH_SERVERS := test_entering.py test_missing_version.py test_real_nodes.py test_rolling_restart.py \
	test_rolling_restart_secured.py
$(LOWEST_VENV)/installed: Makefile pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-lowest.txt \
		--editable . cryptography hypothesis ml_dtypes pytest pytest-asyncio pytest-timeout
	@touch $@

## test-lowest     the client's tests with the lowest versions of its dependencies
test-lowest: $(LOWEST_VENV)/installed
	$(LOWEST_VENV)/bin/pytest tests/engram_store tests/engram_client/test_misbehaving_nodes.py \
		tests/engram_client/cluster $(addprefix --ignore=tests/engram_client/cluster/,$(WITH_SERVERS)) \
		tests/engram_client/hashing tests/engram_client/test_token_map_file.py tests/engram_client/test_node_transport.py \
		tests/engram_client/test_formats.py tests/engram_client/test_formats_quantized.py \
		tests/engram_client/test_tokens.py tests/engram_client/test_lookup_stream.py

# What only the benchmarks need: the peers' packages, and what draws the figures. Peers that are programs come from the
# system (Debian: redis-server, and for Mooncake libibverbs1 librdmacm1 libnuma1); one that is missing is left out, and
# the benchmark says what it needs.
$(VENV)/installed-bench: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

## bench           the store beside a plain socket and every peer installed, with figures (BENCH=options; some 20 minutes)
bench: $(VENV)/installed-bench
	PYTHONPATH=tests $(BIN)/python -m bench.store_bench $(BENCH)

## bench-quick     the same in under two minutes, with fewer and shorter rounds
bench-quick: $(VENV)/installed-bench
	PYTHONPATH=tests $(BIN)/python -m bench.store_bench --quick $(BENCH)

## bench-growth    how the cost of a row grows with rows a fetch, tables, the size of a table and clients (writes 11 GiB)
bench-growth: $(VENV)/installed-bench
	PYTHONPATH=tests $(BIN)/python -m bench.store_bench.growth $(BENCH)

## bench-end-to-end  a model's tokens a second with its rows in memory, in process and on a node at some distance (20 minutes)
bench-end-to-end: $(VENV)/installed-bench
	PYTHONPATH=tests $(BIN)/python -m bench.end_to_end $(BENCH)

## bench-fan-out   several nodes with a shard each beside one node with the whole table, on the same cores
bench-fan-out: install
	PYTHONPATH=tests $(BIN)/python -m bench.store_bench.fan_out $(BENCH)

## bench-plan      what `plan` predicts for four nodes on this machine, beside what `load` measures of them
bench-plan: install
	PYTHONPATH=tests $(BIN)/python -m bench.plan $(BENCH)

## bench-client-memory  what a client and its node hold during a million fetches
bench-client-memory: install
	PYTHONPATH=tests $(BIN)/python -m bench.store_bench.client_memory $(BENCH)

## bench-backends  rows a second of each backend through a node, as ratios in one run
bench-backends: install
	$(BIN)/python tests/bench/backends.py

## bench-production what metrics, TLS, tokens and traces cost, as ratios in one run (10 minutes)
bench-production: install
	PYTHONPATH=tests $(BIN)/python -m bench.production

## bench-hashing   hashing 8,192 tokens beside the bare remainders that it must take
bench-hashing: install
	$(BIN)/python tests/bench/hashing.py

## bench-less-to-send  what deduplication and a row cache save on the kernel's manual (Debian: linux-doc-6.1), and cost where nothing repeats
bench-less-to-send: install
	$(BIN)/python tests/bench/less_to_send.py

## bench-attach    a checkpoint of full size, from nothing to its first rows
bench-attach: install
	$(BIN)/python tests/bench/attach.py

## bench-replaced  seconds until a worker that is killed under load is replaced, 20 times, and what its clients notice
bench-replaced: install
	$(BIN)/python tests/bench/replaced_workers.py $(BENCH)

## bench-cold-rows rows that are not in memory: read ahead beside faulted in one by one (writes 4 GiB)
bench-cold-rows: install
	$(BIN)/python tests/bench/cold_rows.py

## simulate        a cluster's client and placement in 10,000 made-up clusters and 20 of 1,000 nodes (SIMULATE=options; minutes)
simulate: install
ifdef SIMULATE
	PYTHONPATH=tests $(BIN)/python -m simulation $(SIMULATE)
else
	PYTHONPATH=tests $(BIN)/python -m simulation --seeds 10000 --nodes 3-12
	PYTHONPATH=tests $(BIN)/python -m simulation --seeds 20 --nodes 1000
endif

# With network namespaces, which take root, each node has an address and a link of its own; else some are left out, as are
# those with etcd where that is missing.
## chaos           four nodes under load, which are killed, stopped, cut off, far or without etcd (CHAOS=options; 15 minutes)
chaos: install
	PYTHONPATH=tests $(BIN)/python -m chaos $(CHAOS)

## overload        a node that is asked five times what it can give, and a greedy client beside a modest one (6 minutes)
overload: install
	PYTHONPATH=tests $(BIN)/python -m overload $(if $(SECONDS),--seconds $(SECONDS))

## fuzz            a million hostile inputs for codec, files and a node, every answer checked (FUZZ=options; a quarter of an hour)
fuzz: install
	PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ)

## soak            two workers for SECONDS (default 1200) under clients that come and go, versions swapped, workers killed
soak: install
	PYTHONPATH=tests $(BIN)/python -m soak $(if $(SECONDS),--seconds $(SECONDS))

## upgrade         three nodes of the last release replaced by this one's and back under clients of both (UPGRADE=options; minutes)
upgrade: install
	PYTHONPATH=tests $(BIN)/python -m upgrade $(UPGRADE)

# Small and read-only disks are mounts, which take root; failing ones take /dev/fuse and libfuse, too (Debian: libfuse3-3).
## chaos-disk      disks that are full, read-only or failing, under every command that writes and under a node (minutes)
chaos-disk: install
	$(BIN)/pytest -m 'long or not long' tests/chaos/disk

## load            what a node must bear, each for SECONDS (default 20), every row checked
load: install
	$(BIN)/python tests/load/scenarios.py $(if $(SECONDS),--seconds $(SECONDS))

## lint            ruff, mypy and buf, which also holds the wire against that of the last release
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against $(RELEASED_WIRE)

# What nodes and clients of the last release speak, and those themselves: made of the commit of a release, and committed
# after it. Without the commit in the clone, as where CI takes the newest one only, they could not be made.
RELEASED_WIRE := proto/released.binpb
RELEASED_CODE := tests/upgrade/released.tar.xz
## freeze-release  keep the commit that is checked out as the last release, for `lint` and the tests of upgrades
freeze-release: install
	$(BIN)/buf build proto --exclude-source-info -o $(RELEASED_WIRE)
	git archive HEAD proto engram_client store_server | xz -9e > $(RELEASED_CODE)

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

# The node itself is in it, too: what deploy/ asks of its options and metrics is held against the real ones.
DEPLOY_VENV := .venv-deploy
$(DEPLOY_VENV)/installed: Makefile pyproject.toml constraints.txt deploy/requirements.txt deploy/check/get-programs.sh
	$(PYTHON) -m venv $(DEPLOY_VENV)
	$(DEPLOY_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement deploy/requirements.txt --editable '.[server,etcd]'
	sh deploy/check/get-programs.sh $(DEPLOY_VENV)/bin
	@touch $@

## deploy-check    image, compose file, unit, chart, alerts and dashboard, held against their tools, each other and the node
deploy-check: $(DEPLOY_VENV)/installed
	PYTHONPATH=deploy $(DEPLOY_VENV)/bin/python -m check
	$(DEPLOY_VENV)/bin/pytest tests/deploy

## deploy-check-broken  break deploy/ in a hundred ways, one at a time: the check concerned must name each (minutes)
deploy-check-broken: $(DEPLOY_VENV)/installed
	$(DEPLOY_VENV)/bin/pytest --numprocesses 4 -m 'long or not long' tests/deploy/test_broken_on_purpose.py

## audit           what a node is made of (build/sbom.json), and which of it has known faults
audit: $(DEPLOY_VENV)/installed
	sh deploy/audit.sh $(DEPLOY_VENV)/bin build

## clean           remove what the targets above made
clean:
	rm -rf $(VENV) $(PROTO_VENV) .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
