#!/usr/bin/env bash
# Installs with apt what the named groups need and the machine does not have.
#
#   scripts/ensure-tools.sh [go|demo|test|engines|bench|lint|compose|package]...      (default: demo)
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

readonly go_floor=1.26.8

check_go() {
	command -v go >/dev/null ||
		die "there is no go command" "install Go $go_floor or newer from https://go.dev/dl/ and put its bin folder on PATH"
	local have
	have=$(GOTOOLCHAIN=local go env GOVERSION)
	have=${have#go}
	[[ $(printf '%s\n%s\n' "$go_floor" "${have%% *}" | sort -V | head -n1) == "$go_floor" ]] ||
		die "Go $have is too old" "install Go $go_floor or newer from https://go.dev/dl/"
}

missing=()

# need PACKAGE COMMAND... wants a package unless one of its commands is there.
need() {
	local package=$1 command
	shift
	for command; do
		if command -v "$command" >/dev/null; then
			return
		fi
	done
	missing+=("$package")
}

want() {
	case $1 in
	demo)
		need docker.io dockerd
		need docker.io docker
		need iptables iptables
		need iproute2 ip
		need busybox-static busybox
		# dockerd reads compressed images and registries with these.
		[[ -e /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
		;;
	test)
		want demo
		need redis-server redis-server
		need docker-registry docker-registry
		# A file system that can be stopped, for /dev/fuse.
		need bindfs bindfs
		# The pages are looked at with a real browser, which draws letters and signs.
		need chromium-headless-shell chromium-headless-shell chromium
		[[ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ]] || missing+=(fonts-dejavu-core)
		# It reads the unit; no systemd runs.
		need systemd systemd-analyze
		# The machines of the walk-through have firewalls, ssh, certificates and a bus.
		need nftables nft
		need openssh-server sshd
		need openssh-client scp
		need openssl openssl
		need dbus dbus-daemon
		# The examples of the HTTP API are programs of theirs.
		need curl curl
		need python3 python3
		# It checks the alerting rules; no Prometheus runs.
		need prometheus promtool
		# The race detector links with the C compiler.
		need gcc gcc cc
		[[ -e /usr/include/stdlib.h ]] || missing+=(libc6-dev)
		;;
	engines)
		want test
		# The newer engines' runc is built here, with its filters of system calls.
		need pkg-config pkg-config
		[[ -e /usr/include/seccomp.h ]] || missing+=(libseccomp-dev)
		;;
	bench)
		want test
		need zstd zstd
		;;
	go) ;; # checked below for every group
	lint) need shellcheck shellcheck ;;
	compose)
		want demo
		need redis-server redis-server
		docker compose version >/dev/null 2>&1 || need docker-compose docker-compose
		;;
	package)
		need dpkg dpkg-deb
		need zip zip
		# It reads the installed unit; no systemd runs.
		need systemd systemd-analyze
		;;
	*) die "unknown group $1" "want go, demo, test, engines, bench, lint, compose or package" ;;
	esac
}

check_go
(($#)) || set -- demo
for group; do want "$group"; done
((${#missing[@]})) || exit 0

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
[[ $(id -u) == 0 ]] ||
	die "not installed: ${missing[*]}" "run 'sudo apt-get install ${missing[*]}', or run this as root"
command -v apt-get >/dev/null ||
	die "not installed: ${missing[*]}, and there is no apt-get" "install them with your system's package manager"

# The daemons of these packages are not to start by themselves: what needs one
# starts its own. An operator's policy stays as it is.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi

say "installing ${missing[*]}"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq -y --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
	tail -n 5 "$log" >&2
	die "apt-get could not install ${missing[*]}" "see $log, mend the apt sources or install them by hand, and run this again"
fi
rm -f "$log"
