#!/usr/bin/env bash
# The peers' published behaviour against a real server: the MetricsQL suite, Prometheus' own test data by class with a least
# rate each, and a corpus of real queries that must all be understood. Prints one line per check, last "N passed, M failed".
#
#   run.sh SERVER [SUITES]    SUITES: the folder of the suites and their runners; default ../shared/conformance
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=$(realpath "${1:-build/release/kofstore}")
suites=$(realpath -m "${2:-${KS_CONFORMANCE:-../shared/conformance}}")
if [ ! -f "$suites/promqltest_run.py" ]; then
  echo "conformance: skipped, there are no suites in $suites"
  echo "0 passed, 0 failed"
  exit 0
fi

# Least share of each class, in percent, of the strict count (values, types, annotations, errors, order).
least() {
  case $1 in
  expect_fail) echo 100 ;;
  *) echo 99 ;;
  esac
}

work=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; }
  rm -rf "$work"
}
trap stop EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
features=promql-experimental-functions,promql-duration-expr,promql-delayed-name-removal
"$bin" serve -storageDataPath="$work/data" -httpListenAddr="127.0.0.1:$port" -retentionPeriod=100y -logs.retentionPeriod=100y \
  -search.latencyOffset=0s -nativeHistograms=native -enable-feature="$features" >"$work/log" 2>&1 &
server=$!
for _ in $(seq 100); do
  curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
  sleep 0.1
done
base=http://127.0.0.1:$port
passed=0 failed=0
check() { # NAME COMMAND…
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)) && echo "ok    $name"; else failed=$((failed + 1)) && echo "FAIL  $name"; fi
}

metricsql() {
  timeout 120 python3 "$suites/metricsql_run.py" "$suites/suites/metricsql.json" --query-base "$base/select/0/prometheus" \
    --write-url "$base/insert/0/prometheus/api/v1/write" --flush-url "$base/internal/force_flush" >"$work/metricsql" 2>&1
  tail -1 "$work/metricsql"
  grep -q '^metricsql: [1-9][0-9]* passed, 0 failed' "$work/metricsql"
}

strict_class() { # CLASS PASSED FAILED
  awk -v p="$2" -v f="$3" -v least="$(least "$1")" 'BEGIN { exit !(p + f > 0 && 100 * p >= least * (p + f)) }'
}

corpus() {
  local data=$work/corpus
  python3 "$suites/kofq_gen.py" "$suites/../corpus/kof-promql.jsonl" "$data" >/dev/null || return 1
  timeout 120 python3 tests/conformance/corpus.py "$suites/../corpus/kof-promql.jsonl" "$data" "$base"
}

check "MetricsQL suite" metricsql
timeout 150 python3 "$suites/promqltest_run.py" "$suites/suites/promqltest.json" --isolation tenant --remote-write 2 --settle 1 \
  --write-url "$base/insert/{tenant}/prometheus/api/v1/write" --query-base "$base/select/{tenant}/prometheus-strict" \
  --flush-url "$base/internal/force_flush" >"$work/promqltest" 2>&1
# The second table is the strict one.
rows=$(awk '/^promqltest-by-value/ { on = 1 } on && $3 == "passed" { print $1, $2, $4 }' "$work/promqltest")
[ -n "$rows" ] || { tail -5 "$work/promqltest"; rows="plain 0 1"; }
while read -r class p f; do
  check "PromQL $class: $p of $((p + f)), least $(least "$class") %" strict_class "$class" "$p" "$f"
done <<<"$rows"
logsql_class() { # CLASS PASSED FAILED
  awk -v p="$2" -v f="$3" 'BEGIN { exit !(p + f > 0 && 100 * p >= 98 * (p + f)) }'
}
if [ -f "$suites/logsql_run.py" ]; then
  timeout 150 python3 "$suites/logsql_run.py" "$suites/suites/logsql.json" --base "$base" --settle 1 \
    --flush-url "$base/internal/force_flush" >"$work/logsql" 2>&1
  rows=$(awk '/^  [a-z_]+( [a-z]+)? +[0-9]+ passed/ { n = $0; sub(/ +[0-9]+ passed.*/, "", n); sub(/^ +/, "", n); gsub(/ /, "_", n);
    for (i = 1; i <= NF; i++) { if ($i == "passed") p = $(i - 1); if ($i == "failed") f = $(i - 1) } print n, p, f }' "$work/logsql")
  [ -n "$rows" ] || { tail -5 "$work/logsql"; rows="run 0 1"; }
  while read -r class p f; do
    check "LogsQL $class: $p of $((p + f)), least 98 %" logsql_class "$class" "$p" "$f"
  done <<<"$rows"
fi
if [ -f "$suites/../corpus/kof-promql.jsonl" ]; then check "corpus of real queries" corpus; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
