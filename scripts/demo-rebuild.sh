#!/usr/bin/env bash
# Shows a day on which a base image gets a new version: the test that proves it, with what
# it does and what the programs print. Two Docker daemons in network namespaces of their
# own, a registry, a Redis and two workers are started for it and ended by it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
fix_hint="see the message above; the test alone: go test -tags integration -run 'TestRebuild\$' ./internal/e2e"

scripts/ensure-tools.sh test || exit
say "building the programs and starting two build hosts (the first time takes a minute or two)"
# Lines of go test that tell of tests are no part of the story.
go test -tags integration -count=1 -timeout 15m -v -run 'TestRebuild$' ./internal/e2e -story |
	sed -u -e '/^=== /d' -e '/^PASS$/d' -e 's/^--- PASS: .* (\(.*\))$/\nAll of it was checked, in \1./' -e '/^ok  /d' ||
	die "the day did not go as it should"
