# shellcheck shell=bash
# Where the demo keeps what, for demo.sh and demo-down.sh; source it.
# shellcheck disable=SC2034,SC2154 # lib.sh sets root and demo_dir; others use the rest

demo_image=slipway-hello-web
demo_port=${DEMO_PORT:-8080}
redis_port=16379
admin_port=18081
api_port=18470
# jobs_file lists the IDs of the jobs the demo submitted, one a line.
jobs_file=$demo_dir/jobs

export SLIPWAY_REDIS=redis://127.0.0.1:$redis_port/0
export SLIPWAY_STORE=$demo_dir/store

# own_containers prints the IDs of the containers of the demo's worker: all of
# them, or those of one job. They carry the worker's identity and a name that no
# image can set.
own_containers() {
	[[ -s $demo_dir/state/host ]] || return 0
	docker ps -aq --no-trunc --filter "label=slipway.host=$(<"$demo_dir/state/host")" --filter "name=^/slipway-${1:-}"
}

no_container() { [[ -z $(own_containers "$1") ]]; }

# end_jobs cancels what the demo submitted before and waits for the containers
# to be gone.
end_jobs() {
	local job
	[[ -s $jobs_file ]] || return 0
	while read -r job; do
		"$root/bin/enqueue" cancel "$job" >/dev/null 2>&1 || true # it may have ended
		wait_for 30 no_container "$job" ||
			die "the demo's job $job does not end" "see $demo_dir/worker.log, or run 'make demo-down'"
	done <"$jobs_file"
	rm -f "$jobs_file"
}

# stop_worker lets the worker go without waiting for jobs that still run: the
# second signal hands them back.
stop_worker() {
	alive "$demo_dir/worker.pid" worker || return 0
	kill -TERM "$(<"$demo_dir/worker.pid")"
	wait_for 2 not alive "$demo_dir/worker.pid" worker || stop_process "$demo_dir/worker.pid" worker 30
}
