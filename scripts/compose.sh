#!/usr/bin/env bash
# Runs compose on deploy/compose.yaml, as the plugin of docker or as the older
# docker-compose, whichever is there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

if docker compose version >/dev/null 2>&1; then
	compose=(docker compose)
elif command -v docker-compose >/dev/null; then
	compose=(docker-compose)
	# Older versions build through the docker command, and need telling.
	export COMPOSE_DOCKER_CLI_BUILD=1
else
	die "there is no docker compose" "install docker-compose-plugin, or Debian's docker-compose"
fi
export DOCKER_BUILDKIT=1
exec "${compose[@]}" --project-name "${COMPOSE_PROJECT_NAME:-slipway}" -f "$root/deploy/compose.yaml" "$@"
