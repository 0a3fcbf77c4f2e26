#!/usr/bin/env bash
# Builds a directory on a farm over HTTP and runs the image, with curl and tar only.
#
#   export SLIPWAY_SERVER=https://farm.example.com SLIPWAY_TOKEN=...
#   ./build.sh once DIRECTORY TAG             one request, from the tar to the result (JSON)
#   ./build.sh steps DIRECTORY TAG OUTPUT     submit, follow the log, wait, and copy a file of the run
set -euo pipefail

api() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $SLIPWAY_TOKEN" "$@"; }

# again repeats a request that may come twice, unless the server has answered it.
again() {
	local try code
	for try in 1 2 3 4 5; do
		code=0
		"$@" || code=$?
		case $code in
		0 | 22) return $code ;; # 22: --fail-with-body
		esac
		sleep "$try"
	done
	return $code
}

# once answers with the finished job; curl fails when the job did not succeed.
once() {
	tar -C "$1" -cz . | api --data-binary @- "$SLIPWAY_SERVER/v1/build?tag=$2&run&wait=10m&fail"
}

steps() {
	local ctx key job
	ctx=$(mktemp)
	# shellcheck disable=SC2064 # the name as it is now
	trap "rm -f '$ctx'" EXIT
	tar -C "$1" -cz . >"$ctx"
	# The key makes it one job, however often the request comes.
	key=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
	job=$(again api --retry 5 --output /dev/stderr --write-out '%header{location}' --header "Idempotency-Key: $key" \
		--data-binary "@$ctx" "$SLIPWAY_SERVER/v1/build?tag=$2&run&output-path=$3")
	# A log that is cut off is no reason to give up: the job goes on.
	api --no-buffer "$SLIPWAY_SERVER$job/logs?follow" >&2 || echo "the log was cut off" >&2
	# This waits for the job, and fails when it did not succeed.
	again api --retry 5 "$SLIPWAY_SERVER$job?wait=1h&fail" >&2
	api --retry 5 "$SLIPWAY_SERVER$job/outputs/${3#/}"
}

"$@"
