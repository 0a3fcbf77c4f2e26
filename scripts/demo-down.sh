#!/usr/bin/env bash
# Ends what scripts/demo.sh and scripts/ensure-docker.sh started, and removes
# what they made: the service, the worker, the Docker daemon if it was ours, and
# .demo itself.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/demo-env.sh
source "$(dirname "$0")/demo-env.sh"
cd "$root"
fix_hint="mend what the message above says and run it again; .demo holds what is left"

end_service() {
	if alive "$demo_dir/worker.pid" worker; then
		say "ending the demo's jobs"
		end_jobs
		say "stopping the worker"
		stop_worker
	fi
	docker_answers || return 0
	# A worker that was killed could not remove its containers.
	local id
	for id in $(own_containers); do docker rm -f -v "$id" >/dev/null; done
}

# remove_images takes back the names that the demo gave on a daemon that stays.
remove_images() {
	docker_answers || return 0
	docker rmi "$demo_image" >/dev/null 2>&1 || true
	local made name
	for made in $(docker image ls -q --no-trunc slipway-golang | sort -u); do
		for name in $(docker image inspect --format '{{join .RepoTags " "}}' "$made"); do
			docker rmi "$name" >/dev/null 2>&1 || say "kept the image $name: something uses it"
		done
	done
}

# stop_docker stops the daemon that ensure-docker started, and puts the host's
# network back to what it was before.
stop_docker() {
	local dir=$demo_dir/docker
	say "stopping dockerd"
	stop_process "$dir/pid" dockerd 60 || die "dockerd does not stop" "see $dir/log and kill process $(<"$dir/pid")"
	unmount_below "$dir"
	unmount_below /run/slipway-demo
	rm -rf /run/slipway-demo
	[[ -e $dir/host-before ]] || return 0
	grep -q '^docker0' "$dir/host-before" && return 0
	ip link delete docker0 2>/dev/null || true
	sed -n '/^[01]$/p' "$dir/host-before" >/proc/sys/net/ipv4/ip_forward 2>/dev/null || true
	command -v iptables >/dev/null || return 0
	drop_rules filter
	drop_rules nat
	local policy
	policy=$(sed -n '/^-P FORWARD/p' "$dir/host-before")
	# shellcheck disable=SC2086 # the words of -P FORWARD ACCEPT
	[[ -z $policy ]] || iptables $policy
}

# drop_rules TABLE removes Docker's chains, and every rule that names one of
# them or docker0 or was made for its network.
drop_rules() {
	local rule chain
	while read -r rule; do
		# shellcheck disable=SC2086 # the words of one rule
		iptables -t "$1" -D ${rule#-A } 2>/dev/null || true
	done < <(iptables -t "$1" -S | grep -E '^-A .*(docker0|DOCKER)')
	for chain in $(iptables -t "$1" -S | sed -n 's/^-N \(DOCKER[A-Z0-9-]*\)$/\1/p'); do
		iptables -t "$1" -F "$chain"
		iptables -t "$1" -X "$chain"
	done
}

[[ -d $demo_dir ]] || {
	say "there is no demo to take down"
	exit 0
}
if [[ -d $demo_dir/docker/data ]]; then
	scripts/ensure-docker.sh || exit # one that was killed left its containers running
fi
end_service
if [[ -d $demo_dir/docker/data ]]; then
	stop_docker
else
	remove_images
fi
rm -rf "$demo_dir"
say "the demo is gone"
