#!/usr/bin/env bash
# bench/metrics.sh BUILD_DIR [--quick] [--only=STAGE,…]: our server beside victoria-metrics and prometheus, where those are found
# (on PATH or named by KOFSTORE_BENCH_VM and KOFSTORE_BENCH_PROM), each at its default flags. Prints Markdown.
set -euo pipefail
build=$(cd "$1" && pwd)
shift
cmake --build "$build" --target kofstore bench_load -- --quiet
exec python3 "$(dirname "$0")/metrics.py" "$build" "$@"
