#!/bin/bash
# Makes a host ready for the lab: Debian packages, then a container engine that answers.
# Idempotent; every step prints one line; with everything in place it takes well under a second.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

say() { printf 'prepare: %s\n' "$*"; }
die() { printf 'prepare: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "not root: the lab makes network namespaces, loop devices and containers.
  next: run 'sudo make lab' (or 'sudo $0')"

# command-that-must-exist:package-that-brings-it
wanted="dockerd:docker.io mmdebstrap:mmdebstrap ip:iproute2 iptables:iptables losetup:mount
mkfs.ext4:e2fsprogs nsenter:util-linux flock:util-linux setsid:util-linux curl:curl"

missing_packages() {
	local pair
	for pair in $wanted; do
		command -v "${pair%%:*}" >/dev/null 2>&1 || echo "${pair##*:}"
	done | sort -u
}

install_missing() {
	local missing
	missing=$(missing_packages | tr '\n' ' ')
	if [ -z "${missing// /}" ]; then
		say "packages: all there"
		return
	fi
	command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get here: $missing
  next: install them with this system's own package manager, then run this again"
	say "packages: installing $missing"
	export DEBIAN_FRONTEND=noninteractive
	# Old package lists are tried first: refreshing them costs more than most installs.
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 && return
	say "packages: refreshing the package lists"
	apt-get update -qq || die "apt-get update failed; next: look at the host's apt sources and its network"
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
		die "apt-get could not install: $missing; next: run 'apt-get install $missing' and read what it says"
}

install_missing
[ -c /dev/fuse ] && say "fuse: /dev/fuse is there" ||
	say "fuse: /dev/fuse is MISSING; volumes cannot be shown to the kernel (try: modprobe fuse)"
"$here/engine.sh" start
