#!/usr/bin/env bash
# Runs a development tool at the version that its module in tools pins. It is
# built once, into .tools.
#
#   scripts/tool.sh golangci-lint|gofumpt|versitygw [arguments]
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

module=$root/tools
case ${1:-} in
golangci-lint) package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
gofumpt) package=mvdan.cc/gofumpt ;;
versitygw) # the S3 server of the tests
	package=github.com/versity/versitygw/cmd/versitygw
	module=$root/tools/s3
	;;
*) die "unknown tool '${1:-}'" "want golangci-lint, gofumpt or versitygw" ;;
esac

# The versions of all modules and of Go itself make the name.
key=$({ cat "$module/go.sum" "$module/go.mod" && go env GOVERSION; } | sha256sum | cut -c1-12)
binary=$root/.tools/$1-$key
if [[ ! -x $binary ]]; then
	say "building $1 (once, takes a minute or two)" >&2
	mkdir -p "$root/.tools"
	rm -f "$root/.tools/$1-"*
	(cd "$module" && go build -buildvcs=false -trimpath -ldflags '-s -w' -o "$binary.new" "$package") ||
		die "$1 could not be built" "check that the Go module proxy can be reached (go env GOPROXY)"
	mv "$binary.new" "$binary"
fi
shift
exec "$binary" "$@"
