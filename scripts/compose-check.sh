#!/usr/bin/env bash
# Brings deploy/compose.yaml up on a Docker daemon of its own, in a network
# namespace of its own, with images made here in place of pulled ones; runs jobs
# through it; takes it down; and looks that nothing is left.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

[[ $(id -u) == 0 ]] || die "compose-check starts a Docker daemon" "run it as root"

# A short path: those of unix sockets have at most 107 bytes.
work=$(mktemp -d /tmp/slipway-compose-XXXXXX)
ns=$(basename "$work")
export DOCKER_SOCKET=$work/docker.sock
export DOCKER_HOST=unix://$DOCKER_SOCKET
fix_hint="see the messages above; the daemon's log is printed with KEEP_LOG=1"

cleanup() {
	local rc=$?
	trap - ERR
	((rc == 0)) || { docker ps -aq | xargs -r -n 1 docker logs --tail 20; } >&2 2>&1 || true
	docker ps -aq 2>/dev/null | xargs -r docker rm -f -v >/dev/null 2>&1
	stop_process "$work/pid" dockerd 60
	[[ -z ${KEEP_LOG:-} ]] || cat "$work/log" >&2
	unmount_below "$work"
	ip netns del "$ns" 2>/dev/null
	rm -rf "$work"
	exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start_docker() {
	ip netns add "$ns"
	nsenter --net="/run/netns/$ns" ip link set lo up
	setsid nsenter --net="/run/netns/$ns" dockerd \
		--data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" -H "$DOCKER_HOST" \
		--containerd-namespace "$ns" --containerd-plugins-namespace "$ns-plugins" \
		>"$work/log" 2>&1 </dev/null &
	wait_for 30 docker_answers || {
		tail -n 3 "$work/log" >&2
		die "dockerd did not start" "look at the lines above"
	}
}

# add_programs DIR COMMAND... copies programs with the libraries they need.
add_programs() {
	local dir=$1 program
	shift
	mkdir -p "$dir/usr/local/bin"
	for program; do
		cp -L "$(command -v "$program")" "$dir/usr/local/bin/$program"
		ldd "$(command -v "$program")" | grep -o '/[^ ]*' | xargs cp -L --parents -t "$dir"
	done
}

# import_image DIR NAME [CHANGE]... makes an image of the files in a directory.
import_image() {
	local dir=$1 name=$2 changes=() change
	shift 2
	for change; do changes+=(--change "$change"); done
	tar -C "$dir" --owner=0 --group=0 -cf - . |
		docker import "${changes[@]}" --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - "$name" >/dev/null
}

make_images() {
	local dir
	dir=$work/busybox
	busybox_root "$dir"
	import_image "$dir" busybox:1.37 'CMD ["sh"]'

	dir=$work/redis
	mkdir -p "$dir"/{data,tmp}
	add_programs "$dir" redis-server redis-cli
	import_image "$dir" redis:7 'WORKDIR /data' 'CMD ["redis-server"]'

	dir=$work/binaries
	mkdir -p "$dir/out/usr/local/bin"
	cp bin/worker bin/enqueue "$dir/out/usr/local/bin/"
	import_image "$dir" slipway-binaries
}

# build_stack_image needs a docker command that can use BuildKit by itself:
# older ones have it inside, newer ones as the plugin buildx.
build_stack_image() {
	local docker
	for docker in docker /usr/bin/docker; do
		[[ $("$docker" version --format '{{.Client.Version}}') == 2[0-2].* ]] || "$docker" buildx version >/dev/null 2>&1 || continue
		DOCKER_BUILDKIT=1 "$docker" build -q --build-arg BINARIES=slipway-binaries \
			-f deploy/Dockerfile -t slipway:latest . >/dev/null
		return
	done
	die "no docker command here can use BuildKit" "install docker-buildx-plugin"
}

# healthy SERVICE
healthy() { [[ $(docker inspect --format '{{.State.Health.Status}}' "$(compose --profile api ps -q "$1")") == healthy ]]; }

compose() { scripts/compose.sh "$@" </dev/null; }

run_jobs() {
	local context=$work/context said
	mkdir "$context"
	printf 'FROM busybox:1.37\nRUN echo built here >/message\nCMD ["cat", "/message"]\n' >"$context/Dockerfile"
	said=$(compose run --rm -T -v "$context:/src:ro" enqueue submit /src -t compose-check --run)
	[[ $said == *'built here'* ]] || die "the job's container said '$said'" "see the messages above"
	[[ -z $(docker ps -aq --filter label=slipway.job) ]] || die "a job's container is left" "see 'docker ps -a' above"
}

# ask_server lists the job that ran, as a client with a token and nothing else.
ask_server() {
	local token said
	compose --profile api up -d --no-build api
	wait_for 60 healthy api || die "the server did not get healthy" "see its log above"
	token=$(compose run --rm -T enqueue tokens create compose-check)
	said=$(compose --profile api exec -T -e SLIPWAY_TOKEN="$token" api enqueue ls --server http://127.0.0.1:8470)
	[[ $said == *compose-check* ]] || die "the server said '$said'" "see the messages above"
}

# objects lists all that a stack could leave.
objects() {
	docker ps -aq --no-trunc
	docker volume ls -q
	docker network ls --format '{{.Name}}' | sort
	nsenter --net="/run/netns/$ns" ip -br link show type bridge | cut -d ' ' -f 1
}

make --no-print-directory -s build
say "starting a Docker daemon in the network namespace $ns"
start_docker
make_images
build_stack_image
before=$(objects)

compose config -q
say "compose up"
compose up -d --no-build
wait_for 60 healthy worker || die "the worker did not get healthy" "see its log above"
say "running a job through enqueue"
run_jobs
say "asking the server"
ask_server
say "compose down"
compose --profile api down -v --timeout 30
[[ $(objects) == "$before" ]] || {
	diff <(echo "$before") <(objects) >&2 || true
	die "compose down left something behind" "see the lines above"
}
say "the compose stack came up, ran a job, served it and went down without a trace"
