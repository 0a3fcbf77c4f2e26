#!/usr/bin/env bash
# Makes sure that a Docker daemon answers: the one that is there (DOCKER_HOST or
# the default socket), or else one of our own with its data below .demo, which
# scripts/demo-down.sh stops again.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

docker_answers && exit 0

[[ -z ${DOCKER_HOST:-} ]] ||
	die "no Docker daemon answers at DOCKER_HOST=$DOCKER_HOST" "start it, or unset DOCKER_HOST to use a local one"
[[ $(id -u) == 0 ]] ||
	die "no Docker daemon answers, and only root can start one" "start it with 'sudo systemctl start docker', or run this as root"
command -v dockerd >/dev/null ||
	die "no Docker daemon answers and dockerd is not installed" "run scripts/ensure-tools.sh as root"

dir=$demo_dir/docker
pidfile=$dir/pid
# Its own sockets have long paths below this, which must stay under 108 bytes.
exec_root=/run/slipway-demo

mkdir -p "$dir" "$exec_root"
if ! [[ -e $dir/host-before ]]; then
	# What dockerd changes on the host, so that demo-down can put it back.
	{
		ip link show docker0 >/dev/null 2>&1 && echo docker0
		cat /proc/sys/net/ipv4/ip_forward
		iptables -S FORWARD 2>/dev/null | head -n 1
	} >"$dir/host-before" || true
fi
# A daemon that was killed leaves these behind, and a new one would wait for
# the processes they name.
alive "$pidfile" dockerd || rm -f "$pidfile"
alive "$exec_root/containerd/containerd.pid" containerd || rm -f "$exec_root/containerd/containerd.pid"

say "starting dockerd (data in ${dir#"$root"/}, log in ${dir#"$root"/}/log)"
# setsid: an interrupt at the terminal is for the demo, not for the daemon.
setsid dockerd \
	--data-root "$dir/data" --exec-root "$exec_root" --pidfile "$pidfile" \
	-H unix:///var/run/docker.sock \
	>"$dir/log" 2>&1 </dev/null &
started=$!

for _ in $(seq 300); do
	docker_answers && exit 0
	kill -0 "$started" 2>/dev/null || break
	sleep 0.1
done
grep -aE 'level=(error|fatal)|failed to start' "$dir/log" | tail -n 3 >&2 || tail -n 3 "$dir/log" >&2
die "dockerd did not start" "see $dir/log, or start a Docker daemon yourself"
