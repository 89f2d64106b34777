#!/usr/bin/env python3
"""A real victoria-traces in front of kofstore as its storage node: spans, names and traces it answers are those kofstore answers itself,
with the ring alone and with days on disk; an access filter given to either holds. Skipped without the peer."""
import json
import random
import signal
import subprocess
import sys
import time

from test_traces_peer import data, find_peer, get
from trace_lib import Server, free_ports

QUERIES = ["*", "* | fields trace_id, span_id, name | sort by (span_id)", '{"resource_attr:service.name"=~".+"} | stats by (name) count() c',
           "* | stats by (kind) count() c, sum(duration) d", "status_code:2 | fields trace_id, span_id | sort by (span_id) | limit 5",
           "* | uniq by (trace_id)", "duration:>1000 | stats count() c", "nosuchword | stats count() c", "* | top 3 by (name)"]
NAMES = [("field_names", {}), ("field_values", {"field": "name"}), ("streams", {}), ("stream_field_names", {}),
         ("stream_field_values", {"field": "resource_attr:service.name"})]
checks = 0


def equal(what, a, b):
    global checks
    checks += 1
    if a != b:
        print(f"FAILED {what}:\n  {str(a)[:600]}\n  {str(b)[:600]}")
        sys.exit(1)


def answer(port, path, args, headers=None):
    status, body = get(port, "/select/logsql/" + path, args, headers)
    if status != 200:
        return status
    try:
        v = json.loads(body)
        if isinstance(v, dict) and isinstance(v.get("values"), list):
            return sorted(json.dumps(x, sort_keys=True) for x in v["values"])
        return v
    except ValueError:
        return sorted(json.dumps(json.loads(x), sort_keys=True) for x in body.decode().splitlines() if x)


def jaeger(port, path, args):
    status, body = get(port, "/select/jaeger/api/" + path, args)
    return status, json.loads(body).get("data") if status == 200 else None


def spans_of(trace):
    return sorted((s["spanID"], s["operationName"], s["startTime"], s["duration"]) for s in trace["spans"])


def compare(mine, front):
    for q in QUERIES:
        equal(q, answer(front, "query", {"query": q}), answer(mine, "query", {"query": q}))
    for path, args in NAMES:
        equal(path, answer(front, path, {"query": "*", **args}), answer(mine, path, {"query": "*", **args}))
    only = {"query": "*", "extra_filters": 'name:~"^[a-m]"'}
    equal("an access filter", answer(front, "query", only), answer(mine, "query", only))
    equal("a tenant apart", answer(front, "query", {"query": "*"}, {"AccountID": "9"}), answer(mine, "query", {"query": "*"}, {"AccountID": "9"}))
    services = jaeger(front, "services", {})[1]
    equal("services", sorted(services), sorted(jaeger(mine, "services", {})[1]))
    for s in services[:3]:
        equal(f"operations of {s}", sorted(jaeger(front, f"services/{s}/operations", {})[1]), sorted(jaeger(mine, f"services/{s}/operations", {})[1]))
    rows = [json.loads(x) for x in get(mine, "/select/logsql/query", {"query": "*"})[1].splitlines()]
    # The first VictoriaTraces falls over names of events and links as later ones have them.
    later = {r["trace_id"] for r in rows if any(k.startswith(("event:", "link:")) for k in r)}
    ids = sorted({r["trace_id"] for r in rows} - later)
    equal("there are some", len(ids) > 5, True)
    for i in ids[:20]:
        a, b = jaeger(front, "traces/" + i, {}), jaeger(mine, "traces/" + i, {})
        equal("a trace", spans_of(a[1][0]), spans_of(b[1][0]))


def run(peer_binary, *flags):
    rng, now = random.Random(3), time.time_ns()
    mport, fport = free_ports(2)
    s = Server(f"-logs.listenAddr=traces=127.0.0.1:{mport}", *flags)
    front = subprocess.Popen([peer_binary, f"-storageNode=127.0.0.1:{mport}", f"-httpListenAddr=127.0.0.1:{fport}", "-loggerLevel=ERROR"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=s.dir.name)
    try:
        for body in data(rng, now):
            assert s.post(body)[0] == 200
        for _ in range(200):
            try:
                if get(fport, "/health", {})[0] == 200:
                    break
            except OSError:
                time.sleep(0.05)
        compare(mport, fport)
        status, body = get(mport, "/internal/select/tenant_ids", {"start": "0", "end": str(now + 10 ** 13), "disable_compression": "true"})
        equal("tenants", (status, json.loads(body)), (200, [{"account_id": 0, "project_id": 0}]))
        equal("nothing is written there", b"unsupported path" in get(mport, "/internal/insert", {"version": "v1"})[1], True)
    finally:
        front.send_signal(signal.SIGTERM)
        front.wait()
        s.close()


def main():
    peer = find_peer()
    if not peer:
        print("skipped: no victoria-traces found (KS_PEERS or PATH)")
        return
    run(peer)
    run(peer, "-traces.retentionPeriod=7d", "-traces.maxTraces=50")
    print("equal:", checks)


if __name__ == "__main__":
    main()
