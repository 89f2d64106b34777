#!/usr/bin/env bash
# bench/logs.sh BUILD_DIR [--lines=N] [--pods=N] [--json=FILE]: log stores beside victoria-logs, where that is found on PATH or
# named by KOFSTORE_BENCH_VL, each at its default flags. Prints Markdown.
set -euo pipefail
build=$(cd "$1" && pwd)
shift
cmake --build "$build" --target kofstore bench_load -- --quiet
exec python3 "$(dirname "$0")/logs.py" "$build" "$@"
