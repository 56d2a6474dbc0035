#!/bin/bash
# Builds the lab's one image, gemel-lab/node, and the base layer under it.
# Both are tagged with a hash of what goes into them: a second run takes a fraction of a second, and trees
# with different recipes do not take each other's. bin/image says which is this tree's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=trixie
export DOCKER_BUILDKIT=0

say() { printf 'image: %s\n' "$*"; }
die() { printf 'image: %s\n' "$*" >&2; exit 1; }
have() { docker image inspect "$1" >/dev/null 2>&1; }
hash_of() { sha256sum | cut -c1-12; }

packages=$(sed 's/#.*//' "$here/base/packages" | xargs)
base=gemel-lab/base:$( (printf '%s %s\n' "$suite" "$packages"; cat "$here"/base/postgresql-common/*) | hash_of)
recipes=$here/../docs/recipes
node_hash=$( (echo "$base"; cat "$here/node/Dockerfile" "$here/node/init" "$recipes"/*/*) | hash_of)

# mirror prints the Debian mirror this host's apt uses.
mirror() {
	{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
		sed -nE 's/^deb( \[[^]]*\])? +(https?:[^ ]+) .*/\2/p; s/^URIs: *(https?:[^ ]+).*/\1/p' |
		sed -nE '\#/debian/?$#{p;q}'
}

# from_registry tries the published image; without a registry it gives up after a few seconds.
from_registry() {
	have debian:$suite-slim || timeout -k 1 "${GEMEL_PULL_TIMEOUT:-6}" docker pull -q debian:$suite-slim >/dev/null 2>&1 || return 1
	say "base: a registry answered; building on debian:$suite-slim"
	docker build -q --network host --build-arg "PACKAGES=$packages" --label gemel.lab.image=base \
		-t "$base" "$here/base" >/dev/null
}

# A database that compiles its queries is of no use here, and the compiler is as large as all the rest.
from_mmdebstrap() {
	local source
	source=$(mirror)
	[ -n "$source" ] || die "no Debian mirror in this host's apt sources, and no registry answers.
  next: add a Debian mirror to /etc/apt/sources.list.d, or make an image registry reachable"
	say "base: no registry answers; making a Debian $suite root from the host's mirror (about half a minute)"
	mmdebstrap --quiet --variant=minbase --components=main \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt=force-unsafe-io --dpkgopt=force-confold \
		--essential-hook="copy-in $here/base/postgresql-common /etc" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/lib/*/libLLVM*' --dpkgopt='path-exclude=/usr/lib/*/libz3*' \
		--dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/*jit*' --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' \
		--include="${packages// /,}" "$suite" - "$source" |
		docker import --change 'LABEL gemel.lab.image=base' - "$base" >/dev/null
}

command -v docker >/dev/null || die "no docker client; next: run lab/prepare.sh"
docker info >/dev/null 2>&1 || die "no container engine answers; next: run lab/prepare.sh"

started=$SECONDS
if have "$base"; then
	say "base: $base is there"
else
	from_registry || from_mmdebstrap
	say "base: $base built in $((SECONDS - started)) s"
fi
docker tag "$base" gemel-lab/base:latest

node=gemel-lab/node:$node_hash
# For docker-compose by hand, and for binaries whose build left no name.
leave_name() {
	docker tag "$node" gemel-lab/node:latest
	mkdir -p "$here/../bin"
	echo "$node" >"$here/../bin/image.new"
	mv "$here/../bin/image.new" "$here/../bin/image"
}
if have "$node"; then
	leave_name
	say "node: $node is there"
	exit 0
fi
tar -c -C "$here/node" Dockerfile init -C "$recipes/.." recipes |
	docker build -q --build-arg "BASE=$base" --label gemel.lab.image=node --label "gemel.lab.content=$node_hash" \
		-t "$node" - >/dev/null 2>&1 ||
	die "the node image does not build; next: take the '-q' and the '>/dev/null' away from this command and read what it says"
leave_name
say "node: $node built"
