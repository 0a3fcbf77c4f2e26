#!/usr/bin/env bash
# Runs the tests of the engine and the end-to-end tests whose outcome is the
# engine's on several Docker engines, one after the other.
#
#   scripts/engines.sh [VERSION]...      (default: all that scripts/engine.sh knows)
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

# What builds, pushes, fails, collects, and is taken up again after a crash.
readonly farms='^(TestSmoke|TestExample|TestPush|TestPushFailures|TestFailures|TestAttribution|TestAttributionOfLosses|TestOutputs|TestSecrets|TestCrashDuringRun|TestCrashDuringBuild|TestRebuild|TestNamedContexts)$'

(($#)) || set -- 20.10 26.1 26.1-containerd 29
failed=()
for version; do
	programs=$(scripts/engine.sh "$version")
	printf '\n=== %s: %s\n' "$version" "$(PATH=$programs:$PATH dockerd --version)"
	PATH=$programs:$PATH go test -tags integration -count=1 -timeout 30m ./internal/engine/docker || failed+=("$version: engine")
	PATH=$programs:$PATH go test -tags integration -count=1 -timeout 30m -run "$farms" ./internal/e2e || failed+=("$version: farms")
done
((!${#failed[@]})) || die "these are not green: ${failed[*]}" "see above"
