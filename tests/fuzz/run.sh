#!/usr/bin/env bash
# run.sh BUILD_DIR [NAME] [SECONDS]: runs one fuzzer or all of them, each for SECONDS, from its corpus. New inputs go to
# scratch/fuzz/NAME; a crash stops the run and leaves its input there.
set -euo pipefail
build=$1 name=${2:-all} seconds=${3:-60}
here=$(cd "$(dirname "$0")" && pwd)
ok=0
for bin in "$build"/tests/fuzz_*; do
  [ -x "$bin" ] && [ -f "$bin" ] || continue
  what=$(basename "$bin"); what=${what#fuzz_}
  [ "$name" = all ] || [ "$name" = "$what" ] || continue
  out=scratch/fuzz/$what
  mkdir -p "$out"
  echo "== $what"
  "$bin" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$out/crash-" "$out" "$here/corpus/$what" 2>&1 | grep -E 'stat::|ERROR|SUMMARY|Test unit' || true
  if ls "$out"/crash-* >/dev/null 2>&1; then echo "$what: FAILED, see $out"; exit 1; fi
  ok=$((ok + 1))
done
echo "$ok passed, 0 failed"
