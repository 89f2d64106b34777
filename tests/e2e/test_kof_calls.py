#!/usr/bin/env python3
"""What KOF calls and reads of its stores: every recorded API call is answered, every self-metric its dashboards and its UI read is there.

    test_kof_calls.py [--corpus DIR]     the recordings; skipped by name where they are not

Standard library only."""
import argparse
import json
import os
import re
import time

from logs_lib import check, check_true, finish, logs_server, rows
from trace_lib import request, span

HERE = os.path.dirname(os.path.abspath(__file__))

# Names that are not exported, and why. A panel over them is empty.
NOT_EXPORTED = {
    "a Go runtime's": r"go_(gc_duration_seconds_(count|sum)|memstats_(alloc_bytes_total|heap_objects|stack_inuse_bytes)|sched_latencies_seconds_bucket)",
    "of connections between a cluster's roles, which are one process here":
        r"v[lt](insert|select)_backend_.*|vm_rpc_.*|vm_tcpdialer_.*|vm_vm(insert|select)_(conns|conn_errors_total|metrics_read_total|metric_rows_read_total)"
        r"|v[lt]_(insert|select)_remote_send_errors_total",
    "of spilling queries to files, which we do not": r"vm_tmp_blocks_files_.*|vm_tmp_blocks_max_inmemory_file_size_bytes",
    "of the peers' block format": r"vt_storage_per_query_.*|vm_zstd_block_.*|vm_metric_rows_skipped_total",
    "of the peers' buffers and timers": r"v[lt]_insert_(active_streams|processors_count|flush_duration_seconds)|vl_merge_(bytes|duration_seconds)",
    "not counted": r"vm_rows_(read_per_series|scanned_per_query)_bucket|vm_tenant_select_requests_total|vm_deduplicated_samples_total|vm_rows_deleted_total",
    "of a limit that is not set": r"vt_max_disk_space_usage_bytes",
    "counted as v[lt]_rows_dropped_total": r"vt_too_long_lines_skipped_total",
    "of vtselect alone, vt_http_errors_total here": r"vt_http_request_errors_total",
}


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def send_some(server):
    now = time.time_ns()
    text = "".join(f'up{{cluster="mothership",tenant="tenant-a",n="{i}"}} {i}\n' for i in range(20))
    check("metrics in", server.http("/insert/0/prometheus/api/v1/import/prometheus", body=text.encode(), method="POST")[0], 204)
    row = json.dumps({"_time": str(now), "_msg": "hello", "k8s.cluster.name": "c", "tenant": "tenant-a"})
    check("logs in", server.http("/insert/jsonline", args={"_stream_fields": "k8s.cluster.name"}, body=row.encode(), method="POST")[0], 200)
    body = request({"service.name": "svc", "tenant": "tenant-a"}, [span(b"\1" * 16, b"\1" * 8, "op", now - 1000, now)])
    check("spans in", server.http("/insert/opentelemetry/v1/traces", body=body, headers={"Content-Type": "application/x-protobuf"}, method="POST")[0], 200)
    rows(server, wait_for=1)


def calls(server, corpus):
    """Bodies of writes are empty or one row: it is the routes and their arguments that are asked."""
    bodies = {"/insert/jsonline": b'{"_msg":"x"}', "/api/v1/write": b"\0", "/insert/0/prometheus/api/v1/write": b"\0",
              "/api/v1/import": b'{"metric":{"__name__":"x"},"values":[1],"timestamps":[1]}'}
    bad = []
    recorded = lines(os.path.join(corpus, "kof-api-calls.jsonl"))
    for c in recorded:
        path, args = c["path"], c.get("params") or {}
        if c["service"] == "metrics" and not path.startswith(("/select/", "/insert/", "/delete/")):
            path = ("/insert" if re.search("/(import|write)", path) else "/select") + "/0/prometheus" + path
        pairs = [(k, v) for k, vs in args.items() for v in (vs if isinstance(vs, list) else [vs])]
        headers = {"Content-Type": "application/x-protobuf"} if "opentelemetry" in path else None
        status, _, body = server.http(path, args=pairs, headers=headers, body=bodies.get(c["path"], b"") if c["method"] == "POST" else None, method=c["method"])
        if status not in (200, 204):
            bad.append((c["id"], status, body[:200]))
    check(f"{len(recorded)} recorded calls, those not answered", bad, [])


def self_metrics(server, corpus):
    have = set()
    for line in server.http("/metrics")[2].decode().splitlines():
        m = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",? ?)*\})? (\S+)', line)
        if not m:
            check("a line of /metrics that a strict parser takes", line, "")
            continue
        float(m[3])
        have.add(m[1])
    wanted = {c["metric"] for c in lines(os.path.join(corpus, "kof-selfmetrics.jsonl"))}
    excused = {w for w in wanted for why in NOT_EXPORTED.values() if re.fullmatch(why, w)}
    check(f"self-metrics read by KOF ({len(wanted)}), those missing", sorted(wanted - have - excused), [])
    check("excuses that are none, since the metric is there", sorted(excused & have), [])
    print(f"self-metrics: {len(wanted & have)} of {len(wanted)} exported, {len(excused)} named in the test as not")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--corpus", default=os.environ.get("KOFSTORE_CORPUS", os.path.join(HERE, "../../../shared/corpus")))
    corpus = ap.parse_args().corpus
    with logs_server() as server:
        zero = server.http("/metrics")[2].decode()
        for name in ('vm_rows_inserted_total{type="promremotewrite"}', 'vl_rows_dropped_total{reason="too_small_timestamp"}',
                     'vl_rows_ingested_total{type="jsonline"}', 'vt_rows_ingested_total{type="spans"}'):
            check_true(f"{name} is there from the start", f"\n{name} 0\n" in zero)
        send_some(server)
        text = server.http("/metrics")[2].decode()
        check_true("rows of a request", '\nvm_rows_per_insert_bucket{vmrange="1.896e+01...2.154e+01"} 1\n' in text)
        check_true("spans in the ring", '\nvt_storage_rows{type="storage/inmemory"} 1\n' in text)
        if os.path.exists(os.path.join(corpus, "kof-api-calls.jsonl")):
            calls(server, corpus)
            self_metrics(server, corpus)
        else:
            print("kof-api-calls.jsonl is not here: skipped")
    finish()


if __name__ == "__main__":
    main()
