#!/usr/bin/env bash
# bench/traces.sh BUILD_DIR [--traces=100000] [--turns=3] [--conns=4] [--batch=512] [--control=1] [--port=8931]: ingest, memory after turnovers of
# the ring, searches at rest and at half load, restart after kill -9; with --control=1 also how long the machine withheld its cores. One line of JSON per measurement.
set -euo pipefail
build=$(cd "$1" && pwd)
shift
port=8931
for a in "$@"; do case $a in --port=*) port=${a#--port=} ;; esac; done
ninja -C "$build" --quiet kofstore bench_load
data=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$data"' EXIT
start() {
  "$build/kofstore" serve -storageDataPath="$data" -httpListenAddr="127.0.0.1:$port" -loggerLevel=ERROR >/dev/null &
  pid=$!
  until curl -fs -o /dev/null "http://127.0.0.1:$port/select/jaeger/api/services"; do sleep 0.01; done
}
metric() { curl -fs "http://127.0.0.1:$port/metrics" | sed -n "s/^$1 //p"; }
cpu_s() { awk '{print ($14 + $15) / 100}' "/proc/$pid/stat"; }
metric_ms() { metric "kofstore_traces_$1" | awk '{print $1 * 1000}'; }
start
"$build/bench/bench_load" traces --port="$port" --pid="$pid" "$@"
echo "{\"stage\":\"ring\",\"spans\":$(metric kofstore_traces_spans),\"ring_bytes\":$(metric kofstore_traces_bytes),\"snapshot_bytes\":$(metric kofstore_traces_snapshot_bytes),\"snapshot_s\":$(metric kofstore_traces_snapshot_duration_seconds)}"
# How long writers were held in the ring, the log's time apart; the log's longest time beside it.
echo "{\"stage\":\"pauses in the ring\",\"max_ms\":$(metric_ms insert_pause_max_seconds),\"max_own_ms\":$(metric_ms insert_pause_own_max_seconds),\"writes\":$(metric kofstore_traces_insert_pause_seconds_count),\"within_1ms\":$(metric 'kofstore_traces_insert_pause_seconds_bucket{le="0.001"}'),\"within_5ms\":$(metric 'kofstore_traces_insert_pause_seconds_bucket{le="0.005"}'),\"max_log_ms\":$(metric_ms insert_log_max_seconds)}"
kill -9 $pid
wait $pid 2>/dev/null || true
t0=$(date +%s%N)
start
t1=$(date +%s%N)
echo "{\"stage\":\"restart after kill -9\",\"ms\":$(((t1 - t0) / 1000000)),\"cpu_s\":$(cpu_s),\"load_s\":$(metric kofstore_traces_load_duration_seconds),\"records\":$(metric kofstore_traces_replayed_records_total),\"spans\":$(metric kofstore_traces_spans)}"
curl -fs -X POST "http://127.0.0.1:$port/internal/force_flush" >/dev/null || true
kill $pid
wait $pid 2>/dev/null || true
t0=$(date +%s%N)
start
t1=$(date +%s%N)
echo "{\"stage\":\"restart after a clean stop\",\"ms\":$(((t1 - t0) / 1000000)),\"cpu_s\":$(cpu_s),\"load_s\":$(metric kofstore_traces_load_duration_seconds),\"file_bytes\":$(stat -c %s "$data/traces/ring.snap")}"
