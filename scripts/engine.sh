#!/usr/bin/env bash
# Prepares a Docker engine for the tests beside the one that apt installs, once,
# in .tools/engines, and prints the folder of its programs: put it first on PATH.
#
#   scripts/engine.sh 20.10|26.1|26.1-containerd|29
#
#   20.10             what Debian 12 has (overlay2)
#   26.1              what Debian 13 has, run with this system's libraries (overlay2)
#   26.1-containerd   the same with the containerd image store
#   29                moby v2 from the Go module proxy (containerd image store)
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

readonly suite=trixie moby=v2.0.0-beta.24 runc=v1.3.0
engines=$root/.tools/engines

# publish NAME FOLDER makes a prepared folder the engine's, whole or not at all.
publish() {
	rm -rf "${engines:?}/$1"
	mv "$2" "$engines/$1"
}

# debian unpacks Debian 13's engine. Its programs need nothing newer than what
# Debian 12 has, but for its runc.
debian() {
	local work=$1 apt=$1/apt
	mkdir -p "$apt"/{etc,state/lists/partial,cache/archives/partial,debs}
	: >"$apt/state/status"
	# The mirror that this system uses, for the other suite.
	local lists
	mapfile -t lists < <(grep -rlsE '(^|[ /])bookworm( |$)' /etc/apt/sources.list /etc/apt/sources.list.d)
	((${#lists[@]})) || die "no apt source of Debian 12 was found" "run this on Debian 12"
	local list
	for list in "${lists[@]}"; do
		case $list in
		*.sources) awk 'BEGIN {RS = ""; ORS = "\n\n"} /bookworm-updates|bookworm( |\n)/ && !/-security/' "$list" |
			sed "s/^Suites:.*/Suites: $suite/" >"$apt/etc/$suite-$(basename "$list")" ;;
		*) sed -nE "s/^(deb .*) bookworm ([^ ].*)/\1 $suite \2/p" "$list" >"$apt/etc/$suite-$(basename "$list" .list).list" ;;
		esac
	done
	local opts=(-qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/etc" -o "Dir::State=$apt/state"
		-o "Dir::Cache=$apt/cache" -o "Dir::State::status=$apt/state/status" -o APT::Sandbox::User=root)
	(cd "$apt/debs" && apt-get "${opts[@]}" update && apt-get "${opts[@]}" download docker.io containerd) >&2 ||
		die "Debian's package of the engine cannot be had" "check the apt sources of this machine"
	local deb
	for deb in "$apt"/debs/*.deb; do
		dpkg-deb -x "$deb" "$work/files"
	done
	mkdir -p "$work/bin"
	mv "$work"/files/usr/{bin,sbin}/* "$work/bin/"
	rm -rf "$work/files" "$apt"
}

# go_program NAME MODULE@VERSION... builds one into .tools/engines/NAME.
go_program() {
	local name=$1 work
	shift
	[[ ! -e $engines/$name ]] || return 0
	say "building $name for the tests (once, takes some minutes)" >&2
	work=$(mktemp -d "$engines/new-XXXXXX")
	GOBIN=$work go install -trimpath -ldflags '-s -w' "$@" >&2 ||
		die "$name could not be built" "check that the Go module proxy can be reached (go env GOPROXY)"
	publish "$name" "$work"
}

# engine NAME makes the folder of an engine.
engine() {
	local name=$1 work
	[[ ! -e $engines/$name ]] || return 0
	work=$(mktemp -d "$engines/new-XXXXXX")
	case $name in
	26.1)
		debian "$work"
		ln -sf "../../runc-$runc/runc" "$work/bin/runc"
		;;
	26.1-containerd)
		engine 26.1
		mkdir -p "$work/bin"
		printf '{"features": {"containerd-snapshotter": true}}\n' >"$work/daemon.json"
		# The folder is found from the script, so that it can be moved.
		cat >"$work/bin/dockerd" <<-'EOF'
			#!/bin/sh
			here=$(dirname "$(readlink -f "$0")")
			exec "$here/../../26.1/bin/dockerd" --config-file "$here/../daemon.json" "$@"
		EOF
		chmod 755 "$work/bin/dockerd"
		local program
		for program in containerd containerd-shim-runc-v2 ctr docker-init docker-proxy runc; do
			ln -s "../../26.1/bin/$program" "$work/bin/$program"
		done
		;;
	29)
		engine 26.1
		CGO_ENABLED=0 go_program "moby-$moby" github.com/moby/moby/v2/cmd/{dockerd,docker-proxy}"@$moby"
		mkdir -p "$work/bin"
		local program
		for program in dockerd docker-proxy; do
			ln -s "../../moby-$moby/$program" "$work/bin/$program"
		done
		for program in containerd containerd-shim-runc-v2 ctr docker-init runc; do
			ln -s "../../26.1/bin/$program" "$work/bin/$program"
		done
		;;
	esac
	publish "$name" "$work"
}

name=${1:-}
case $name in
20.10)
	dirname "$(command -v dockerd || die "there is no dockerd" "run scripts/ensure-tools.sh test as root")"
	exit
	;;
26.1 | 26.1-containerd | 29) ;;
*) die "unknown engine '$name'" "want 20.10, 26.1, 26.1-containerd or 29" ;;
esac
mkdir -p "$engines"
go_program "runc-$runc" -tags seccomp "github.com/opencontainers/runc@$runc"
engine "$name"
say "$engines/$name/bin"
