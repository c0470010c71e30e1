#!/bin/sh
# Put promtool and systemd-analyze where deploy-check finds them: DIRECTORY/promtool, and the system's PATH. Takes Debian
# or what descends from it; elsewhere install both (they come with Prometheus and with systemd) and this does nothing.
set -eu
directory=$1

missing() {
    echo "error: $1 is missing, and $2" >&2
    exit 1
}

if ! command -v systemd-analyze >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || missing systemd-analyze "only Debian's root can install it: apt-get install systemd"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd
fi

if ! command -v promtool >/dev/null && [ ! -x "$directory/promtool" ]; then
    command -v apt-get >/dev/null || missing promtool "this is not Debian: install Prometheus, or put promtool on the PATH"
    # The package is unpacked and not installed: that would start a Prometheus on this machine. No root is needed, but for
    # lists of packages where there are none.
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    (
        cd "$unpacked"
        apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; } ||
            missing promtool "apt-get cannot download prometheus: run apt-get update as root"
        dpkg-deb --extract prometheus_*.deb .
    )
    install "$unpacked/usr/bin/promtool" "$directory/promtool"
fi
