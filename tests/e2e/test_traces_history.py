#!/usr/bin/env python3
"""Days of spans on disk (-traces.retentionPeriod): what the ring has evicted is answered from there, once, as it was
sent, over kill -9 and restarts, and what the ring had before it was turned on is in it too."""
import json
import os
import random
import signal
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, request, span  # noqa: E402

SEC = 10 ** 9
SELECT = "/store/traces/select/logsql/query"
RING = 64


def tid(i):
    return (i + 1).to_bytes(16, "big") if i % 2 else bytes([7]) * 8 + (i + 1).to_bytes(8, "big")


ODD = [{"arr": [1, "x", 2.5]}, {"map": {"a": {"b": 1}, "c": "d"}}, {"bytes": b"\0\1\xff"}, {"k" * 140: "long key"}, {"empty": ""},
       {"big": 2 ** 62, "neg": -5, "d": 0.1, "t": True, "f": False}, {"emptymap": {}}, {"x" * 10: "y" * 5000}]


def send(s, first, count, now, seed=1):
    rng = random.Random(seed + first)
    out = b""
    for i in range(first, first + count):
        attrs = {"n": i, "route": f"/r{i % 7}", "half": i / 2, "even": i % 2 == 0, **ODD[i % len(ODD)]}
        events = [(now - SEC // 2, "exception", {"type": "E", "n": i, "list": [i]})] if i % 3 == 0 else []
        links = [(tid(i + 5), b"\5" * 8, {"l": 1.5})] if i % 5 == 0 else []
        start = now - 2 * SEC - i * 1000
        out += request({"service.name": f"svc-{i % 3}", "tenant": "ab"[i % 2], "pid": 100 + i % 4}, [
            span(tid(i), (2 * i + 1).to_bytes(8, "big"), f"op-{i % 5}", start, start + SEC, attrs=attrs, events=events, links=links,
                 status=i % 3, message="bad" if i % 3 == 2 else "", flags=257),
            span(tid(i), (2 * i + 2).to_bytes(8, "big"), "child", start + rng.randrange(SEC), start + SEC, parent=(2 * i + 1).to_bytes(8, "big"),
                 kind=3)])
    assert s.post(out, "main", "/insert/opentelemetry/v1/traces")[0] == 200


def rows(s, query, **args):
    code, body, _ = s.call("main", SELECT + "?" + urllib.parse.urlencode({"query": query, **args}))
    assert code == 200, (query, code, body)
    return [json.loads(x) for x in body.splitlines()]


def ordered(trace):
    """A trace as Jaeger's listener has it, without the orders nobody promises: the ids of processes, attributes, spans."""
    for sp in trace["spans"]:
        sp["process"] = trace["processes"][sp.pop("processID")]
        sp["process"]["tags"].sort(key=lambda t: t["key"])
        sp["tags"].sort(key=lambda t: t["key"])
        for entry in sp["logs"]:
            entry["fields"].sort(key=lambda t: t["key"])
    return sorted(trace["spans"], key=lambda x: x["spanID"])


def check(s, total, sent_as):
    assert rows(s, "* | stats count() n, count_uniq(trace_id) t, count_uniq(span_id) s") == [{"n": str(2 * total), "t": str(total), "s": str(2 * total)}]
    assert not any(k.startswith("_ks_") for r in rows(s, "*") for k in r)
    assert rows(s, '"_ks_types":* or "_ks_raw":*') == []
    names = s.json("main", "/store/traces/select/logsql/field_names", query="*")["values"]
    assert not [n for n in names if n["value"].startswith("_ks_")], names
    for i in range(total):
        t = s.json("jaeger", "/api/traces/" + tid(i).hex())["data"][0]
        got = ordered(t)
        assert len(got) == 2, (i, got)
        if i not in sent_as:
            sent_as[i] = got
        assert got == sent_as[i], (i, got, sent_as[i])
        assert len(s.json("main", "/select/jaeger/api/traces/" + tid(i).hex())["data"][0]["spans"]) == 2
    assert s.call("jaeger", "/api/traces/" + "0" * 31 + "f" * 1)[0] in (200, 404)
    assert s.call("jaeger", "/api/traces/" + "ef" * 16)[0] == 404
    # Searches find every trace once, those of the ring first.
    for svc in range(3):
        want = {tid(i).hex().lstrip("0").rjust(16, "0") for i in range(total) if i % 3 == svc}
        got = [t["traceID"] for t in s.json("jaeger", "/api/traces", service=f"svc-{svc}", limit=1000)["data"]]
        assert len(got) == len(set(got)) and {g.lstrip("0").rjust(16, "0") for g in got} == want, (svc, len(got), len(want))
    one = s.json("jaeger", "/api/traces", service="svc-1", tags=json.dumps({"n": "1", "route": "/r1"}), limit=10)["data"]
    assert [t["spans"][0]["traceID"] for t in one] == [t["traceID"] for t in one] and len(one) == 1, one
    assert len(s.json("main", "/select/jaeger/api/traces", service="svc-0", operation="op-0", limit=1000)["data"]) == len(
        [i for i in range(total) if i % 15 == 0])
    assert len(s.json("main", "/select/jaeger/api/traces", service="svc-1", tags='{"route":"/r1"}', limit=1000)["data"]) == len(
        [i for i in range(total) if i % 3 == 1 and i % 7 == 1])
    assert set(s.json("main", "/select/jaeger/api/services")["data"]) == {"svc-0", "svc-1", "svc-2"}
    assert set(s.json("main", "/select/jaeger/api/services/svc-0/operations")["data"]) == {"child"} | {
        f"op-{i % 5}" for i in range(0, total, 3)}
    # An access filter holds for what is on disk.
    mine = s.json("main", "/select/jaeger/api/traces", service="svc-1", limit=1000, extra_filters='"resource_attr:tenant":="a"')["data"]
    assert len(mine) == len([i for i in range(total) if i % 3 == 1 and i % 2 == 0]), len(mine)
    assert s.call("main", "/select/jaeger/api/traces/" + tid(1).hex() + "?extra_filters=" + urllib.parse.quote('"resource_attr:tenant":="a"'))[0] == 404
    assert {r["resource_attr:tenant"] for r in rows(s, "*", extra_filters='"resource_attr:tenant":="b"')} == {"b"}


def grows(s, sent_as):
    """More and more traces, restarts in between: by kill -9, by stop, with and without a flush."""
    now, total = time.time_ns(), 0
    for step, count in enumerate((10, RING, 150, 40, 70)):
        send(s, total, count, now)
        if step == 3:
            send(s, total, count, now)  # again, as after a lost answer
        total += count
        if step == 0:
            check(s, total, sent_as)  # all of it in memory: this is how they were sent
        if step in (1, 3):
            s.restart(signal.SIGKILL)
        if step == 2:
            s.restart(signal.SIGTERM)
        if step == 3:
            s.call("main", "/internal/force_flush")
    check(s, total, sent_as)
    s.restart()
    check(s, total, sent_as)
    return total, now


def late_spans(s, now, total):
    """A span of a trace that was evicted: the trace is whole again."""
    late = request({"service.name": "late"}, [span(tid(0), b"\x55" * 8, "late", now, now + 5)])
    assert s.post(late, "main", "/insert/opentelemetry/v1/traces")[0] == 200
    for port, path in (("jaeger", "/api/traces/"), ("main", "/select/jaeger/api/traces/")):
        t = s.json(port, path + tid(0).hex())["data"][0]
        assert len(t["spans"]) == 3 and len({x["spanID"] for x in t["spans"]}) == 3, t
    assert len(s.json("main", "/select/jaeger/api/traces", service="late")["data"][0]["spans"]) == 3
    assert rows(s, "* | stats count() n") == [{"n": str(2 * total + 1)}]


def turned_on_later():
    s = Server(f"-traces.maxTraces={RING}")
    on, off = s.flags + ("-traces.retentionPeriod=3d",), s.flags
    try:
        now, sent_as = time.time_ns(), {}
        send(s, 0, 20, now)
        assert rows(s, "* | stats count() n") == [{"n": "40"}]
        for kill in (signal.SIGKILL, signal.SIGTERM):
            s.flags = on
            s.restart(kill)
            check(s, 20, sent_as)
        send(s, 20, 5, now)  # still in the log alone when it is turned off
        s.flags = off
        s.restart()
        send(s, 25, 5, now)
        s.flags = on
        s.restart()
        check(s, 30, sent_as)
        send(s, 30, 100, now)
        check(s, 130, sent_as)
        s.restart()
        check(s, 130, sent_as)
    finally:
        s.close()


def main():
    s = Server("-traces.retentionPeriod=7d", f"-traces.maxTraces={RING}")
    try:
        total, now = grows(s, {})
        late_spans(s, now, total)
    finally:
        s.close()
    turned_on_later()
    print("ok")


if __name__ == "__main__":
    main()
