#!/bin/sh
# Do what the Dockerfile does, without an engine: the same wheels, the same environment from them alone, and a node of it
# that runs as another user, from what it cannot write to. For machines on which no image can be built: it shows that
# the Python of the image holds, and nothing of its base or of how an engine runs it. Takes root and util-linux.
set -eu
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
tried=$(mktemp -d)
trap 'rm -rf "$tried"' EXIT
chmod 0755 "$tried"

# Only what COPY takes.
mkdir "$tried/source"
(cd "$repository" && tar --exclude=__pycache__ -cf - pyproject.toml constraints.txt README.md LICENSE proto store_server \
    engram_client model) | tar -xf - -C "$tried/source"
(cd "$tried/source" && "$python" -m pip wheel --quiet --disable-pip-version-check --wheel-dir "$tried/wheels" \
    --constraint constraints.txt '.[server,etcd]')
"$python" -m venv "$tried/environment"
"$tried/environment/bin/pip" install --quiet --disable-pip-version-check --no-index --find-links "$tried/wheels" \
    'engram-store[server,etcd]'
"$tried/environment/bin/pip" uninstall --quiet --yes pip setuptools
rm -rf "$tried/source" "$tried/wheels"

install -d -o 10001 -g 10001 -m 0750 "$tried/root"
as_node="setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
export PATH="$tried/environment/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A namespace of its own, in which all is read-only but the root of the node and /tmp.
unshare --mount --pid --fork --kill-child --mount-proc sh -euc '
    mount --make-rprivate /
    mount --bind "$1/root" "$1/root"
    mount --bind "$1/environment" "$1/environment" && mount -o remount,bind,ro "$1/environment"
    mount -o remount,bind,ro / 2>/dev/null || mount --bind / / && mount -o remount,bind,ro /
    cd /
    ! $2 touch "$1/environment/written" 2>/dev/null || { echo "error: the environment can be written to" >&2; exit 1; }
    $2 engram-store create "$1/root" layer-1 --rows 1000 --row-bytes 64
    $2 engram-store serve "$1/root" --listen 127.0.0.1:0 --health-listen 127.0.0.1:0 --supervise >"$1/root/said" &
    node=$!
    for _ in $(seq 300); do grep -q "listening on" "$1/root/said" && break; sleep 0.1; done
    address=$(sed -n "s/^listening on //p" "$1/root/said")
    TMPDIR="$1/root" $2 engram-store load "grpc://$address" --duration 1s --concurrency 2
    kill -TERM "$node" && wait "$node"
' try-image "$tried" "$as_node"
echo "try-image: made, and served as user 10001 from what it cannot write to"
