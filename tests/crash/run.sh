#!/usr/bin/env bash
# run.sh BUILD_DIR [ROUNDS]: kill -9 rounds against the real server (samples, logs, spans), then 10000 simulated power losses.
set -uo pipefail
build=$1 rounds=${2:-200}
here=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0
check() {
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
export KOFSTORE_BIN=${KOFSTORE_BIN:-$build/kofstore}
check python3 "$here/kill9.py" "$rounds"
check python3 "$here/kill9_logs.py" "$rounds"
check python3 "$here/kill9_traces.py" "$rounds"
check "$build/tests/crash_engine_sim" 10000
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
