#!/usr/bin/env bash
# try-run.sh BIN [FLAGS]: starts a server on a scratch folder that scrapes itself, and says where to look. Used by ./dev run.
set -euo pipefail
bin=$1
shift
addr=127.0.0.1:8428
for f in "$@"; do
  case $f in -httpListenAddr=* | --httpListenAddr=*) addr=${f#*=} ;; esac
done
case $addr in :*) addr=127.0.0.1$addr ;; esac
data=scratch/try-data
mkdir -p "$data"
base=http://$addr
cat <<T
data in $data (remove it to start afresh); own metrics are written every 15 s; Ctrl-C stops

  curl -s '$base/api/v1/query?query=up'
  curl -s '$base/api/v1/query?query=sum(vm_rows_inserted_total)by(type)'
  curl -s '$base/api/v1/export?match\[\]=process_resident_memory_bytes'

T
listen=(-httpListenAddr="$addr")
for f in "$@"; do
  case $f in -httpListenAddr* | --httpListenAddr*) listen=() ;; esac
done
exec "$bin" serve -storageDataPath="$data" "${listen[@]}" -selfScrapeInterval=15s -search.latencyOffset=1s "$@"
