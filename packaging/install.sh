#!/bin/bash
# Puts the binary, the units and the list of modules where a box wants them: [DESTDIR=] [PREFIX=/usr/local] install.sh
# It starts and enables nothing, and writes no configuration.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=${PREFIX:-/usr/local} dest=${DESTDIR:-}
binary=${GEMEL_BINARY:-$here/../bin/gemel}
units=/usr/lib/systemd/system modules=/usr/lib/modules-load.d
[ "$prefix" = /usr ] || units=/etc/systemd/system modules=/etc/modules-load.d

put() { # MODE FILE TARGET
	install -D -m "$1" "$2" "$dest$3" || { echo "install: $dest$3 cannot be written; next: run it as root, or set DESTDIR" >&2; exit 1; }
	echo "install: $dest$3"
}

[ -x "$binary" ] || { echo "install: $binary is not there; next: run make build" >&2; exit 1; }
put 755 "$binary" "$prefix/bin/gemel"
for unit in "$here"/units/*.service; do
	sed "s#/usr/bin/gemel#$prefix/bin/gemel#" "$unit" >"${TMPDIR:-/tmp}/gemel-unit.$$"
	put 644 "${TMPDIR:-/tmp}/gemel-unit.$$" "$units/$(basename "$unit")"
done
rm -f "${TMPDIR:-/tmp}/gemel-unit.$$"
put 644 "$here/modules-load.conf" "$modules/gemel.conf"
completion=$(mktemp)
"$binary" completion bash >"$completion"
put 644 "$completion" "$prefix/share/bash-completion/completions/gemel"
rm -f "$completion"
install -d -m 755 "$dest/etc/gemel"
[ -n "$dest" ] || ! command -v systemctl >/dev/null || systemctl daemon-reload || true
