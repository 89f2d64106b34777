#!/usr/bin/env python3
"""Links to traces: exemplars from every protocol, and the traces they and error logs name, which outlive the ring and a restart."""
import json
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, any_value, field, pair, request, span, text, varint  # noqa: E402

SEC = 10 ** 9


def fixed64(n, v):
    return varint(n << 3 | 1) + struct.pack("<Q", v)


def double(n, v):
    return varint(n << 3 | 1) + struct.pack("<d", v)


def wait_for(what, fn, seconds=20):
    until = time.time() + seconds
    while time.time() < until:
        if fn():
            return
        time.sleep(0.1)
    raise AssertionError("did not come: " + what)


def exemplar(value, tid, at_ns, sid=b"\7" * 8, attrs=None):
    b = fixed64(2, at_ns) + double(3, value)
    if sid:
        b += field(4, sid)
    if tid:
        b += field(5, tid)
    return b + b"".join(field(7, pair(k, v)) for k, v in (attrs or {}).items())


def metrics(*ms):
    res = field(1, pair("service.name", "shop"))
    return field(1, field(1, res) + field(2, b"".join(field(2, m) for m in ms)))


def counter(name, now, ex):
    point = fixed64(3, now) + double(4, 7.0) + b"".join(field(5, e) for e in ex)
    return text(1, name) + field(7, field(1, point) + varint(3 << 3) + varint(1))


def histogram(name, now, ex):
    point = fixed64(3, now) + fixed64(4, 6) + double(5, 12.5) + field(6, struct.pack("<3Q", 1, 2, 3)) + field(7, struct.pack("<2d", 0.5, 10))
    return text(1, name) + field(9, field(1, point + b"".join(field(8, e) for e in ex)) + varint(2 << 3) + varint(2))


def exponential(name, now, ex):
    def zigzag(n):
        return varint(n << 1 ^ n >> 63)
    buckets = varint(1 << 3) + zigzag(-3) + field(2, b"\1\0\4\2")
    point = fixed64(3, now) + fixed64(4, 7) + double(5, 5.0) + varint(6 << 3) + zigzag(2) + field(8, buckets)
    return text(1, name) + field(10, field(1, point + b"".join(field(11, e) for e in ex)) + varint(2 << 3) + varint(2))


def exemplars_of(s, query):
    data = s.json("main", "/prometheus/api/v1/query_exemplars", query=query, start=time.time() - 3600, end=time.time() + 60)["data"]
    return sorted((r["seriesLabels"].get("le") or r["seriesLabels"].get("vmrange") or "", float(e["value"]), tuple(sorted(e["labels"].items())))
                  for r in data for e in r["exemplars"])


def otlp_exemplars(s):
    now = time.time_ns()
    tid = b"\x21" * 16
    ids = (("span_id", "07" * 8), ("trace_id", tid.hex()))
    body = metrics(
        counter("requests", now, [exemplar(1.5, tid, now, attrs={"http.route": "/cart"}), exemplar(2, tid, now, attrs={"long": "x" * 200}),
                                  exemplar(3, b"", now, sid=b"", attrs={"only": "attribute"}), exemplar(4, b"", now, sid=b"")]),
        histogram("latency", now, [exemplar(0.5, tid, now), exemplar(0.6, tid, now), exemplar(99, tid, now)]),
        exponential("sizes", now, [exemplar(0.65, tid, now), exemplar(1.1, tid, now), exemplar(50, tid, now)]))
    code, answer, _ = s.call("main", "/opentelemetry/v1/metrics", body, {"Content-Type": "application/x-protobuf"})
    assert code == 200, (code, answer)
    assert exemplars_of(s, "requests") == [("", 1.5, (("http.route", "/cart"),) + ids), ("", 2, ids), ("", 3, (("only", "attribute"),))]
    assert [(le, v) for le, v, _ in exemplars_of(s, "latency_bucket")] == [("+Inf", 99), ("0.5", 0.5), ("10", 0.6)]
    # At the very series of their buckets, so that the link stands where the point is drawn.
    ranges = {m["vmrange"] for m in s.json("main", "/prometheus/api/v1/series", **{"match[]": "sizes_bucket"})["data"]}
    got = [(r, v) for r, v, _ in exemplars_of(s, "sizes_bucket")]
    assert got == [("1.000e+00...1.189e+00", 1.1), ("5.946e-01...7.071e-01", 0.65)] and {r for r, _ in got} <= ranges, (got, ranges)
    assert [v for _, v, _ in exemplars_of(s, "sizes_count")] == [50], "a value in no bucket"
    # A panel's whole query, as Grafana sends it.
    panel = 'histogram_quantile(0.9, sum(rate(latency_bucket{le!="10"}[5m])) by (le)) / 2 > bool 0 or increase(requests[1m])'
    assert [v for _, v, _ in exemplars_of(s, panel)] == [1.5, 2, 3, 99, 0.5], exemplars_of(s, panel)
    assert exemplars_of(s, "1 + time()") == [] and exemplars_of(s, "sum(nothing)") == [] and exemplars_of(s, "sum(") == []
    # JSON writes ids in hex.
    doc = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "js", "gauge": {"dataPoints": [{"timeUnixNano": str(now), "asInt": "3", "exemplars": [
        {"timeUnixNano": str(now), "asInt": "3", "traceId": tid.hex(), "spanId": "07" * 8, "filteredAttributes": [{"key": "k", "value": {"stringValue": "v"}}]}]}]}}]}]}]}
    code, answer, _ = s.call("main", "/opentelemetry/v1/metrics", json.dumps(doc).encode(), {"Content-Type": "application/json"})
    assert code == 200, answer
    assert exemplars_of(s, "js") == [("", 3, (("k", "v"),) + ids)]
    # Cut anywhere: an answer, and no crash.
    for n in range(1, len(body), 13):
        assert s.call("main", "/opentelemetry/v1/metrics", body[:n], {"Content-Type": "application/x-protobuf"})[0] in (200, 400)


def one_span(s, tid, name="x"):
    now = time.time_ns()
    assert s.post(request({"service.name": "a"}, [span(tid, b"\1" * 8, name, now, now + 1)]))[0] == 200


def turn_over(s, n, salt):
    for i in range(n):
        one_span(s, bytes([salt, i % 256, i // 256]) + os.urandom(13))


def there(s, tid):
    return s.get("jaeger", "/api/traces/" + tid.hex())[0] == 200


def log_rows(s, rows):
    body = b"".join(json.dumps({"_time": str(time.time_ns()), "_msg": "m", **r}).encode() + b"\n" for r in rows)
    code, answer, _ = s.call("main", "/insert/jsonline?_stream_fields=app", body, {"Content-Type": "application/stream+json"})
    assert code == 200, answer


def pins():
    s = Server("-traces.maxTraces=60", "-traces.maxKept=40", "-traces.maxPinsPerMinute=100")
    try:
        t = {k: os.urandom(16) for k in ("exemplar", "error", "late", "info", "nobody", "severity", "otel", "other")}
        for k in ("exemplar", "error", "info", "nobody", "severity", "other"):
            one_span(s, t[k])
        now = time.time_ns()
        code, _, _ = s.call("main", "/opentelemetry/v1/metrics", metrics(counter("c", now, [exemplar(1, t["exemplar"], now)])),
                            {"Content-Type": "application/x-protobuf"})
        assert code == 200
        log_rows(s, [{"app": "a", "level": "error", "trace_id": t["error"].hex()}, {"app": "a", "level": "info", "trace_id": t["info"].hex()},
                     {"app": "a", "severity_number": "17", "traceID": t["severity"].hex().upper()}, {"app": "a", "level": "error", "trace_id": "x" * 32},
                     {"app": "a", "level": "ERROR", "trace_id": t["late"].hex()}, {"app": "a", "level": "error", "span_id": t["other"].hex()}]
                 + [{"app": "a", "level": "error", "trace_id": t["error"].hex()}] * 50)
        # OTLP logs with their own severities.
        rec = fixed64(1, now) + varint(2 << 3) + varint(18) + field(5, any_value("boom")) + field(9, t["otel"])
        one_span(s, t["otel"])
        code, answer, _ = s.call("main", "/insert/opentelemetry/v1/logs", field(1, field(2, field(2, rec))), {"Content-Type": "application/x-protobuf"})
        assert code == 200, answer
        wait_for("pins", lambda: s.metric("kofstore_traces_pins_set_total") == 4)
        assert s.metric("kofstore_traces_pins_waiting") == 1
        one_span(s, t["late"])  # the log row came before the spans
        wait_for("late pin", lambda: s.metric("kofstore_traces_pins_set_total") == 5)
        assert s.metric("kofstore_traces_pinned_total") == 5
        s.restart()  # before anything is evicted: the marks are in the log
        turn_over(s, 70, 1)
        pinned = ("exemplar", "error", "late", "severity", "otel")
        for k in pinned:
            assert there(s, t[k]), k
        for k in ("info", "nobody", "other"):
            assert not there(s, t[k]), k
        assert s.metric("kofstore_traces_kept") == 5
        s.restart(15)
        turn_over(s, 70, 2)
        assert all(there(s, t[k]) for k in pinned), "the second ring outlives restarts and the first"
        # The second ring is bounded too.
        many = [os.urandom(16) for _ in range(45)]
        for tid in many:
            one_span(s, tid)
        before = s.metric("kofstore_traces_pins_set_total")
        log_rows(s, [{"app": "a", "level": "fatal", "trace_id": tid.hex()} for tid in many])
        wait_for("many pins", lambda: s.metric("kofstore_traces_pins_set_total") == before + 45)
        turn_over(s, 70, 3)
        assert s.metric("kofstore_traces_kept") == 40 and there(s, many[-1]) and not there(s, t["exemplar"])
    finally:
        s.close()


def rate_and_off():
    s = Server("-traces.maxPinsPerMinute=1")  # a bucket of ten
    try:
        ids = [os.urandom(16) for _ in range(15)]
        for tid in ids:
            one_span(s, tid)
        log_rows(s, [{"app": "a", "level": "error", "trace_id": tid.hex()} for tid in ids])
        wait_for("bounded pins", lambda: s.metric('kofstore_traces_pins_dropped_total{reason="rate"}') == 5)
        assert s.metric("kofstore_traces_pins_set_total") == 10
    finally:
        s.close()
    s = Server("-traces.pin=")
    try:
        tid = os.urandom(16)
        one_span(s, tid)
        log_rows(s, [{"app": "a", "level": "error", "trace_id": tid.hex()}])
        assert b"pins_asked" not in s.get("main", "/metrics")[1]
    finally:
        s.close()


def main():
    s = Server()
    try:
        otlp_exemplars(s)
    finally:
        s.close()
    pins()
    rate_and_off()
    print("links to traces: all as expected")


if __name__ == "__main__":
    main()
