#!/usr/bin/env bash
# Builds examples/hello-web as a job and leaves it serving: the whole farm on
# this machine, with Docker and a worker that are started here when there are
# none. It can be run again at any time; scripts/demo-down.sh ends it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/demo-env.sh
source "$(dirname "$0")/demo-env.sh"
cd "$root"
fix_hint="see the message above and $demo_dir/worker.log; 'make demo-down' and then 'make demo' start afresh"

step() { printf '\n== %s\n' "$*"; }

# start_worker leaves a running worker alone when it is the one just built.
start_worker() {
	local pidfile=$demo_dir/worker.pid
	if alive "$pidfile" worker && cmp -s "/proc/$(<"$pidfile")/exe" bin/worker && ready; then
		say "the worker runs already"
		return
	fi
	if alive "$pidfile" worker; then
		end_jobs
		stop_worker
	fi
	rm -f "$jobs_file"
	local port
	for port in "$redis_port" "$admin_port" "$api_port"; do
		! listening "$port" ||
			die "port $port, which the demo's worker needs, is taken" "end what listens there: ss -ltnp 'sport = :$port'"
	done
	setsid bin/worker dev --redis-listen "127.0.0.1:$redis_port" --admin "127.0.0.1:$admin_port" --listen "127.0.0.1:$api_port" \
		--state "$demo_dir/state" --store "$demo_dir/store" \
		>>"$demo_dir/worker.log" 2>&1 </dev/null &
	echo $! >"$pidfile"
	wait_for 30 ready_or_dead || true
	ready || {
		tail -n 3 "$demo_dir/worker.log" >&2
		die "the worker did not get ready" "see $demo_dir/worker.log, then run 'make demo-down' and 'make demo'"
	}
	say "the worker is ready (log in ${demo_dir#"$root"/}/worker.log)"
}

ready() { http_get 127.0.0.1 "$admin_port" /readyz >/dev/null; }

ready_or_dead() { ready || not running "$(<"$demo_dir/worker.pid")"; }

free_port() {
	# Docker's proxy may hold the port a moment longer than the container lives.
	wait_for 5 not listening "$demo_port" ||
		die "port $demo_port is taken" "choose another: DEMO_PORT=$((demo_port + 1)) make demo"
}

# submit follows the job until its service is up; its result is left in $demo_dir.
# The job is noted before it is followed: the same key makes the second submission
# the same job.
submit() {
	local job spec=(examples/hello-web --name hello-web -t "$demo_image"
		-p "$demo_port:8080" --ready-http / --keep 1h --idempotency-key "demo-$$-$RANDOM")
	job=$(bin/enqueue submit -d -q "${spec[@]}")
	echo "$job" >>"$jobs_file"
	bin/enqueue submit --progress plain "${spec[@]}" ||
		die "job $job did not succeed" "run 'bin/enqueue status $job' with SLIPWAY_REDIS=$SLIPWAY_REDIS"
	result=$(bin/enqueue result -o json "$job")
}

# field NAME prints a field of the result.
field() { sed -n "s/^ *\"$1\": *\"\\([^\"]*\\)\".*/\\1/p" <<<"$result" | head -n 1; }

check() {
	local state
	state=$(docker inspect --format '{{.State.Status}}' "$container") ||
		die "docker knows no container $container" "see $demo_dir/worker.log"
	[[ $state == running ]] || die "container $container is $state" "run 'docker logs $container'"
	page=$(http_get 127.0.0.1 "$demo_port" /) ||
		die "http://127.0.0.1:$demo_port/ does not answer" "run 'docker logs $container'"
	[[ $page == 'Hello, Docker!' ]] ||
		die "http://127.0.0.1:$demo_port/ says '$page'" "see what listens there: ss -ltnp 'sport = :$demo_port'"
}

step "tools and Docker"
scripts/ensure-tools.sh demo || exit
scripts/ensure-docker.sh || exit
mkdir -p "$demo_dir"
say "Docker $(docker version --format '{{.Server.Version}}') answers"

step "programs and base image"
say "building bin/worker and bin/enqueue (the first time takes a minute or two)"
make --no-print-directory -s build || exit
scripts/golang-image.sh golang:1.15 || exit

step "worker"
start_worker
end_jobs
free_port

step "job: examples/hello-web"
submit
container=$(field container_id)
check

cat <<EOF

$page

  image      $demo_image
  image ID   $(field image_id)
  container  $container
  page       http://127.0.0.1:$demo_port/  (stays up for an hour)

To go on:
  export SLIPWAY_REDIS=$SLIPWAY_REDIS SLIPWAY_STORE=$SLIPWAY_STORE
  bin/enqueue ls
  grep "export S=" ${demo_dir#"$root"/}/worker.log      address and token of the HTTP API
  make demo-down      ends all of it
EOF
