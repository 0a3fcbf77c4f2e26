#!/usr/bin/env bash
# Makes a release twice and compares: in two clones of this repository's last commit in
# different directories, the second with an empty build cache and under another umask, time
# zone and home.
#
#   CACHE=shared scripts/release-check.sh   takes the usual cache for both: quicker, proves less
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fix_hint="see the messages above"
GOMODCACHE=$(go env GOMODCACHE) # what is downloaded is checked by go.sum
GOCACHE=$(go env GOCACHE)
commit=$(git rev-parse HEAD)
# The version of both is what is described here: a clone may lack tags.
: "${VERSION:=$(git describe --tags --always)}"
export GOMODCACHE GOCACHE VERSION
unset SOURCE_DATE_EPOCH

# make_release DIR
make_release() {
	git clone -q --no-checkout "$root" "$1"
	git -C "$1" checkout -q "$commit"
	"$1/scripts/release.sh" >"$work/log" 2>&1 || {
		tail -n 5 "$work/log" >&2
		die "no release was made in $1" "see the lines above"
	}
}

say "making a release of $VERSION"
make_release "$work/one"
say "making it again elsewhere"
(
	[[ ${CACHE:-} == shared ]] || export GOCACHE=$work/cache
	export HOME=$work/home TZ=Asia/Tokyo
	umask 077
	make_release "$work/elsewhere/and/deeper"
)
diff "$work/one/dist/SHA256SUMS" "$work/elsewhere/and/deeper/dist/SHA256SUMS" ||
	die "the two releases differ" "compare the files that are named above, such as with diffoscope"
(cd "$work/one/dist" && sha256sum --quiet -c SHA256SUMS)
say "both have the same $(wc -l <"$work/one/dist/SHA256SUMS") files"
