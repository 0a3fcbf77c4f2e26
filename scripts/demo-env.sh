# shellcheck shell=bash
# Where the demo keeps what, for demo.sh and demo-down.sh; source it.
# shellcheck disable=SC2034,SC2154 # lib.sh sets root and demo_dir; others use the rest

demo_image=slipway-hello-web
demo_port=${DEMO_PORT:-8080}
redis_port=16379
admin_port=18081
# jobs_file lists the IDs of the jobs the demo submitted, one a line.
jobs_file=$demo_dir/jobs

export SLIPWAY_REDIS=redis://127.0.0.1:$redis_port/0
export SLIPWAY_STORE=$demo_dir/store

# own_containers prints the IDs of the containers of the demo's jobs.
own_containers() {
	local job
	[[ -s $jobs_file ]] || return 0
	while read -r job; do
		docker ps -aq --no-trunc --filter "label=slipway.job=$job" --filter "name=^/slipway-$job-a"
	done <"$jobs_file"
}

no_containers() { [[ -z $(own_containers) ]]; }

# end_jobs cancels what the demo submitted before and waits for its containers
# to be gone.
end_jobs() {
	local job
	[[ -s $jobs_file ]] || return 0
	while read -r job; do
		"$root/bin/enqueue" cancel "$job" >/dev/null 2>&1 || true # it may have ended
	done <"$jobs_file"
	wait_for 30 no_containers || die "the demo's service does not end" "see $demo_dir/worker.log, or run 'make demo-down'"
	rm -f "$jobs_file"
}
