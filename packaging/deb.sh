#!/bin/bash
# Builds a Debian package out of bin/gemel and what is in this directory: deb.sh VERSION OUTPUT-DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=${1:?usage: deb.sh VERSION OUTPUT-DIRECTORY} out=${2:?usage: deb.sh VERSION OUTPUT-DIRECTORY}
binary=${GEMEL_BINARY:-$here/../bin/gemel}

die() { printf 'deb: %s\n' "$*" >&2; exit 1; }
command -v dpkg-deb >/dev/null || die "no dpkg-deb here; next: build on Debian, or use make install"
[ -x "$binary" ] || die "$binary is not there; next: run make build"

# Debian's versions begin with a digit; a commit's name sorts before every release.
version=${version#v}
case $version in [0-9]*.*) ;; *) version=0~git.${version//-/.} ;; esac
arch=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

DESTDIR=$tree PREFIX=/usr GEMEL_BINARY=$binary "$here/install.sh" >/dev/null
install -d -m 755 "$tree/DEBIAN"
for script in postinst prerm postrm; do install -m 755 "$here/debian/$script" "$tree/DEBIAN/$script"; done
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" \
	-e "s/@SIZE@/$(du -sk "$tree/usr" | cut -f1)/" "$here/debian/control" >"$tree/DEBIAN/control"
chmod 755 "$tree"
mkdir -p "$out"
package=$out/gemel_${version}_$arch.deb
dpkg-deb -Zgzip --root-owner-group --build "$tree" "$package" >/dev/null
echo "$package"
