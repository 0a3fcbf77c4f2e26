#!/usr/bin/env bash
# Makes a Debian package of two programs that are built already.
#
#   scripts/deb.sh VERSION ARCH BIN_DIR OUT_DIR
#
# SOURCE_DATE_EPOCH is the time of all in it, so that the same programs and files make
# the same package. COMPRESSION=none is quicker, for a package that is not given to others.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

(($# == 4)) || die "found $# arguments" "want VERSION ARCH BIN_DIR OUT_DIR"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:?}
version=$1 arch=$2 bin=$3 out=$4
umask 022
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

# deb_version turns what git describes into a version that dpkg orders as it was meant:
# 1.0.0-rc.1 is before 1.0.0, and 1.0.0-5-gabc after it. A commit without any tag is
# before all versions, and ordered by its time.
deb_version() {
	local v=${1#v} dirty=
	[[ $v != *-dirty ]] || { v=${v%-dirty} dirty=+dirty; }
	if [[ ! $v =~ ^[0-9]+\.[0-9] ]]; then
		v=0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$v
	elif [[ $v =~ ^(.*)-([0-9]+)-g([0-9a-f]+)$ ]]; then
		v=${BASH_REMATCH[1]}+${BASH_REMATCH[2]}.g${BASH_REMATCH[3]}
	fi
	v=${v/-/\~}$dirty
	printf '%s' "${v//-/.}"
}
version=$(deb_version "$version")

doc=$tree/usr/share/doc/slipway
install -D -m 755 -t "$tree/usr/bin" "$bin/worker" "$bin/enqueue"
install -D -m 644 -t "$tree/etc/slipway" "$root/deploy/worker.env.example"
install -D -m 644 -t "$doc" "$root/README.md" "$root/CHANGELOG.md" "$root"/deploy/{policy.example.yaml,redis/users.conf}
install -D -m 644 "$root/LICENSE" "$doc/copyright"
# The first lines of the units say how to install them by hand. Where there are no settings
# yet a start fails and says so, in place of a program with settings that are not meant.
install -d "$tree/usr/lib/systemd/system"
for name in worker server; do
	sed -e '1,/^$/d' -e 's|^ExecStart=/usr/local/bin/|ExecStart=/usr/bin/|' \
		-e "/^StartLimitIntervalSec=/a AssertPathExists=/etc/slipway/$name.env" \
		"$root/deploy/slipway-$name.service" >"$tree/usr/lib/systemd/system/slipway-$name.service"
done

size=$(find "$tree" -type f -printf '%s\n' | awk '{s += $1} END {print int((s + 1023) / 1024)}')
install -D -m 755 -t "$tree/DEBIAN" "$root"/deploy/debian/{postinst,prerm,postrm}
install -m 644 -t "$tree/DEBIAN" "$root/deploy/debian/conffiles"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" "$root/deploy/debian/control" >"$tree/DEBIAN/control"

find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
# xz on several threads cuts what it packs into blocks.
dpkg-deb --root-owner-group --threads-max=1 "-Z${COMPRESSION:-xz}" --build "$tree" "$out/slipway_${version}_$arch.deb" >/dev/null
