#!/bin/bash
# Brings what some unit tests use and no product needs: fio, xfs, an etcd server. Idempotent. What cannot be had is said,
# and the tests that need it skip and say so too.
#   testtools.sh         all of them
#   testtools.sh etcd    the etcd server only, as a lab with etcd needs it
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
export DEBIAN_FRONTEND=noninteractive

say() { printf 'test tools: %s\n' "$*"; }

only=${1:-}
missing=""
if [ "$only" != etcd ]; then
	command -v fio >/dev/null 2>&1 || missing="$missing fio"
	command -v dbus-daemon >/dev/null 2>&1 || missing="$missing dbus-daemon"
	PATH=$PATH:/usr/sbin:/sbin command -v mkfs.xfs >/dev/null 2>&1 || missing="$missing xfsprogs"
fi
etcd=$top/bin/tools/etcd
need_etcd=""
[ -x "$etcd" ] || command -v etcd >/dev/null 2>&1 || need_etcd=1

if [ -z "$missing$need_etcd" ]; then
	say "all there"
	exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	say "missing:$missing${need_etcd:+ etcd}; the tests that need them skip (installing takes root and apt)"
	exit 0
fi

install() { # shellcheck disable=SC2086
	timeout 300 apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 </dev/null
}
# The server's package would start a service; only its binary is wanted.
unpack_etcd() (
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	cd "$dir"
	timeout 300 apt-get download -qq etcd-server >/dev/null 2>&1 </dev/null
	dpkg-deb -x etcd-server_*.deb .
	mkdir -p "$(dirname "$etcd")"
	install_to=$etcd.new
	cp usr/bin/etcd "$install_to"
	mv "$install_to" "$etcd"
)
refreshed=""
refresh() {
	[ -n "$refreshed" ] || timeout 300 apt-get update -qq >/dev/null 2>&1 </dev/null || true
	refreshed=1
}

if [ -n "$missing" ]; then
	say "installing$missing"
	install || { refresh; install; } || say "could not install$missing: the tests that need them skip"
fi
if [ -n "$need_etcd" ]; then
	say "unpacking an etcd server into bin/tools"
	unpack_etcd || { refresh; unpack_etcd; } || say "could not get etcd: the tests that need it skip"
fi
