#!/bin/sh
# Say what a node is made of, and which of it has known faults: FOLDER/sbom.json (CycloneDX), and pip-audit.
#
# The list is of an environment with a node alone, made of the versions in constraints.txt. It needs the package index.
# Faults are looked up in an advisory database on the network: where that cannot be reached the audit was NOT made, which
# is said in a line of its own and is no failure, unless AUDIT_REQUIRED=1 says that it must be made, as it should where
# releases are built.
set -eu
tools=$1 folder=$2
mkdir -p "$folder"
node=$(mktemp -d)
trap 'rm -rf "$node"' EXIT

"$tools/python" -m venv --without-pip "$node/venv"
"$tools/pip" --python "$node/venv/bin/python" install --quiet --disable-pip-version-check --constraint constraints.txt '.[server,etcd]'
"$tools/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
    --output-file "$folder/sbom.json" "$node/venv/bin/python"
"$tools/python" - "$folder/sbom.json" <<'PYTHON'
import json, sys
names = {each["name"]: each["version"] for each in json.load(open(sys.argv[1]))["components"]}
assert "grpcio" in names, f"the list has no grpcio: {sorted(names)}"
assert "torch" not in names, "a node must not need torch"
print(f"sbom: {len(names)} packages in {sys.argv[1]}, no torch")
PYTHON

"$tools/pip" --python "$node/venv/bin/python" freeze --exclude engram-store | grep -v ' @ ' >"$node/requirements.txt"
code=0
"$tools/pip-audit" --requirement "$node/requirements.txt" --no-deps --disable-pip --progress-spinner off --timeout 10 \
    --format json --output "$folder/audit.json" 2>"$node/said" || code=$?
# A package that the database does not know is passed over, and the rest called sound: that is no audit.
if [ "$code" -le 1 ] && "$tools/python" -c 'import json, sys
sys.exit(any("skip_reason" in each for each in json.load(open(sys.argv[1]))["dependencies"]))' "$folder/audit.json"; then
    cat "$node/said"
    exit "$code"                      # 1 for known faults
fi
echo "audit: NOT MADE, the advisory database did not answer: $(tail -n 1 "$node/said" | cut -c 1-200)" >&2
[ "${AUDIT_REQUIRED:-}" != 1 ]
