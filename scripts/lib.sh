# shellcheck shell=bash
# What the scripts share; source it, do not run it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# demo_dir holds all that the demo makes. Scripts change to $root first.
# shellcheck disable=SC2034 # used by those who source this
demo_dir=$root/.demo
export PATH="$PATH:/usr/local/go/bin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*"; }

# die WHAT FIX ends the script with one line that says what is wrong and how to
# fix it.
die() {
	trap - ERR
	printf 'error: %s; %s\n' "$1" "$2" >&2
	exit 1
}

# fix_hint is what the last line says when a command fails that no die covers.
fix_hint="run it with bash -x to see the failing command"
unexpected() {
	((BASH_SUBSHELL == 0)) || exit 1 # the shell around it says so
	die "line $1 of $0 failed" "$fix_hint"
}
set -E
trap 'unexpected $LINENO' ERR

# wait_for SECONDS COMMAND... runs the command every 0.1 s until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || return 1
		sleep 0.1
	done
}

# http_get HOST PORT PATH prints an answer's body, and fails unless its status
# is 200. It needs neither curl nor wget.
http_get() {
	(
		exec 3<>"/dev/tcp/$1/$2" || exit 1
		printf 'GET %s HTTP/1.0\r\nHost: %s:%s\r\n\r\n' "$3" "$1" "$2" >&3
		IFS= read -r -t 10 status <&3
		case $status in *" 200 "*) ;; *) exit 1 ;; esac
		while IFS= read -r -t 10 line <&3 && [[ $line != $'\r' ]]; do :; done
		timeout 10 cat <&3
	) 2>/dev/null
}

# listening PORT tells whether something on this machine listens on the port.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# docker_answers tells whether a Docker daemon answers where docker looks for it.
docker_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# alive PIDFILE NAME tells whether the process of the pid file runs and is the
# named program, so that a number that was given away again is never signalled.
alive() {
	[[ -s $1 && $(cat "/proc/$(<"$1")/comm" 2>/dev/null) == "$2" ]] && running "$(<"$1")"
}

# stop_process PIDFILE NAME SECONDS asks with SIGTERM and kills after a while.
stop_process() {
	alive "$1" "$2" || return 0
	local pid
	pid=$(<"$1")
	kill -TERM "$pid"
	wait_for "$3" not running "$pid" && return 0
	kill -KILL "$pid" 2>/dev/null || true
	wait_for 5 not running "$pid"
}

# running PID is false for a process that has ended, reaped or not.
running() {
	local state
	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)
	[[ -n $state && $state != Z ]]
}

not() { ! "$@"; }

# unmount_below DIR unmounts what is mounted at or below it, deepest first.
unmount_below() {
	local mount
	while read -r mount; do
		umount -l "$mount"
	done < <(awk -v d="$1" '$5 == d || index($5, d "/") == 1 {print $5}' /proc/self/mountinfo | sort -r)
}

# busybox_root DIR makes a root file system with a shell and the usual commands.
busybox_root() {
	local applet
	mkdir -p "$1"/{bin,dev,etc,proc,root,sys,tmp}
	chmod 1777 "$1/tmp"
	cp -L "$(command -v busybox)" "$1/bin/busybox"
	for applet in $(busybox --list); do
		[[ $applet == busybox ]] || ln -sf busybox "$1/bin/$applet"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group"
	printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}
