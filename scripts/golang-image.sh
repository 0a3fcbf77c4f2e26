#!/usr/bin/env bash
# Makes sure that a golang base image of the given name is on the Docker host:
# one that is there, one from a registry, or, where no registry answers, one
# made from this machine's Go tree. The last holds what `go build` needs and
# busybox as its shell, nothing else.
#
#   scripts/golang-image.sh [golang:1.15]
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
fix_hint="look at the message above; 'docker rmi slipway-golang' makes the next run start afresh"

tag=${1:-golang:1.15}
goroot=$(go env GOROOT)
# The stand-in is known by the Go tree it was made from and by this script.
stamp=$({ cat "$goroot/VERSION" "$0" && go env GOARCH; } | sha256sum | cut -c1-12)
made=slipway-golang:$stamp

# pull succeeds when a registry has the image. It waits 10 s for a first sign of
# the image, so that a machine without a network is not held up for long.
pull() {
	local log pid
	log=$(mktemp)
	timeout 600 docker pull "$tag" >"$log" 2>&1 </dev/null &
	pid=$!
	for _ in $(seq 100); do
		if ! kill -0 "$pid" 2>/dev/null || grep -q 'Pulling from' "$log"; then
			break
		fi
		sleep 0.1
	done
	grep -q 'Pulling from' "$log" || kill "$pid" 2>/dev/null || true
	rm -f "$log"
	wait "$pid"
}

# pack writes the image's files as a tar: the Go tree without what only tests,
# tools and people need, and a tiny root around it.
pack() {
	local fs=$1
	busybox_root "$fs"
	mkdir -p "$fs"/{go/src,go/bin,usr/bin,etc/ssl/certs,usr/local/go}
	chmod 1777 "$fs/go" "$fs/go/src" "$fs/go/bin"
	ln -sf /bin/env "$fs/usr/bin/env"
	if [[ -r /etc/ssl/certs/ca-certificates.crt ]]; then
		cp -L /etc/ssl/certs/ca-certificates.crt "$fs/etc/ssl/certs/"
	fi
	tar -C "$goroot" -cf - \
		--exclude='*_test.go' --exclude=testdata --exclude='src/cmd/*' --exclude='pkg/tool/*/fix' --exclude='*.md' \
		VERSION go.env bin/go pkg/tool pkg/include src lib/time |
		tar -C "$fs/usr/local/go" -xf -
	tar -C "$fs" --owner=0 --group=0 --numeric-owner -cf - .
}

make_image() {
	command -v busybox >/dev/null || die "there is no busybox to make $tag with" "run scripts/ensure-tools.sh as root"
	local fs
	fs=$(mktemp -d)
	# shellcheck disable=SC2064 # fs is to be expanded now
	trap "rm -rf '$fs'" EXIT
	# GO111MODULE=auto is what Go 1.15 does by default: a folder without go.mod
	# is built all the same.
	pack "$fs" | docker import \
		--change 'ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
		--change 'ENV GOROOT=/usr/local/go' --change 'ENV GOPATH=/go' --change 'ENV HOME=/root' \
		--change 'ENV GOTOOLCHAIN=local' --change 'ENV CGO_ENABLED=0' --change 'ENV GO111MODULE=auto' \
		--change 'WORKDIR /go' --change 'CMD ["/bin/sh"]' \
		--message "made from the host's $(go env GOVERSION) by scripts/golang-image.sh" \
		- "$made" >/dev/null
}

docker image inspect "$tag" >/dev/null 2>&1 && exit 0
if ! docker image inspect "$made" >/dev/null 2>&1; then
	if pull; then
		say "pulled $tag"
		exit 0
	fi
	say "no registry has $tag within reach; making it from $goroot ($(go env GOVERSION))"
	make_image
fi
docker tag "$made" "$tag"
