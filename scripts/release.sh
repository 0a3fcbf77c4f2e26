#!/usr/bin/env bash
# Makes the files of a release in dist/: archives, Debian packages, a list of what each
# program is made of, and SHA256SUMS.
#
#   VERSION=v1.2.3 scripts/release.sh      (default: what git describes)
#
# The same commit, version and Go make the same bytes, in whatever directory and at
# whatever time; scripts/release-check.sh compares two.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

: "${VERSION:=$(git describe --tags --always --dirty)}"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
[[ $VERSION =~ ^[A-Za-z0-9][A-Za-z0-9.+~-]*$ ]] || die "the version '$VERSION' cannot be in a file's name" "set VERSION to one such as v1.2.3"
# What could make other programs of the same sources.
unset GOFLAGS GOEXPERIMENT
export VERSION SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0
umask 022
number=${VERSION#v}
dist=$root/dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fix_hint="see the messages above"

# build OS ARCH DIR PROGRAM... builds programs, and lists what each is made of.
build() {
	local os=$1 arch=$2 dir=$3 program suffix=
	shift 3
	[[ $os != windows ]] || suffix=.exe
	for program; do
		GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" \
			-o "$dir/$program$suffix" "./cmd/$program"
		"$work/sbom" "$number" "$dir/$program$suffix" >"$dist/${program}_${number}_${os}_$arch.cdx.json"
	done
}

# texts DIR adds what a reader looks for first.
texts() { install -m 644 -t "$1" LICENSE README.md CHANGELOG.md; }

# pack NAME KIND makes dist/NAME.KIND of the folder NAME.
pack() {
	find "$work/$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	case $2 in
	tar.gz)
		tar -C "$work" --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$1" |
			gzip -n -9 >"$dist/$1.tar.gz"
		;;
	zip) (cd "$work" && find "$1" -type f | sort | zip -q -X -9 "$dist/$1.zip" -@) ;;
	esac
}

rm -rf "$dist"
mkdir -p "$dist"
go build -C tools/sbom -buildvcs=false -o "$work/sbom" .

for arch in amd64 arm64; do
	name=slipway_${number}_linux_$arch
	say "building $name"
	build linux "$arch" "$work/$name/bin" worker enqueue
	texts "$work/$name"
	# An .env beside the compose file may have an operator's passwords.
	git ls-files -z deploy | tar --null -T - -cf - | tar -C "$work/$name" -xf -
	chmod -R u=rwX,go=rX "$work/$name"
	pack "$name" tar.gz
	scripts/deb.sh "$VERSION" "$arch" "$work/$name/bin" "$dist"
done
for target in darwin/arm64/tar.gz windows/amd64/zip; do
	IFS=/ read -r os arch kind <<<"$target"
	name=enqueue_${number}_${os}_$arch
	say "building $name"
	build "$os" "$arch" "$work/$name" enqueue
	texts "$work/$name"
	pack "$name" "$kind"
done
(cd "$dist" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
say "made dist/ of $VERSION:"
cat "$dist/SHA256SUMS"
