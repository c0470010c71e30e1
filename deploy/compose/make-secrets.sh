#!/bin/sh
# Make what compose.yaml mounts: an authority, certificates of it for each service and a client, tokens, a password. In
# secrets/, beside this file; nothing that is there is overwritten. Needs openssl and the image engram-store:0.2.0.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets/ca secrets/ca-key secrets/node-1 secrets/node-2 secrets/prometheus secrets/client secrets/tokens secrets/grafana
cd secrets

# The key of the authority lies in a folder that no service mounts.
if [ ! -f ca/ca.crt ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj "/CN=engram-store demo" \
        -keyout ca-key/ca.key -out ca/ca.crt
fi

certificate() {  # NAME EXTRA-NAMES: for a server that is a client of the others, too
    [ -f "$1/tls.crt" ] && return
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1/tls.key" -out "$1/tls.csr"
    printf 'subjectAltName=DNS:%s%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$1" "$2" >"$1/tls.ext"
    openssl x509 -req -in "$1/tls.csr" -CA ca/ca.crt -CAkey ca-key/ca.key -days 90 -extfile "$1/tls.ext" -out "$1/tls.crt"
    rm "$1/tls.csr" "$1/tls.ext"
}
certificate node-1 ,DNS:localhost,IP:127.0.0.1
certificate node-2 ,DNS:localhost,IP:127.0.0.1
certificate prometheus ""
certificate client ""

# Nodes are known by their certificates; what a client may do hangs on its token.
if [ ! -f tokens/tokens.toml ]; then
    for node in node-1 node-2; do
        printf '[[certificate]]\nname = "%s"\ndns = "%s"\nscopes = ["read", "replicate"]\ntables = ["*"]\n\n' "$node" "$node"
    done >tokens/tokens.toml
    docker run --rm --user 0:0 --volume "$PWD/tokens:/tokens" engram-store:0.2.0 \
        token new /tokens/tokens.toml --name client --scope read --tables '*' >client/token
fi
[ -f grafana/password ] || openssl rand -hex 16 >grafana/password

# Each service runs as a user of its own, and reads its own folder only.
chmod 0755 . ca && chmod 0644 ca/ca.crt
if [ "$(id -u)" = 0 ]; then
    chown -R 10001:10001 node-1 node-2 tokens && chown -R 65534:65534 prometheus && chown -R 472:472 grafana
else
    echo "not root: run 'sudo sh $0' once more, so that the services own their folders" >&2
fi
