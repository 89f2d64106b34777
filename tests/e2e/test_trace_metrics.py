#!/usr/bin/env python3
"""Rates, errors and durations of spans: Jaeger's Monitor over the ring, and span metrics in the metric store, by PromQL."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, request, span  # noqa: E402

SEC, MS = 10 ** 9, 10 ** 6


def spans(s, service, name, end_ns, ms, n=1, status=0, kind=2, resource=None, headers=None):
    body = request({"service.name": service, **(resource or {})}, [
        span(os.urandom(16), os.urandom(8), name, end_ns - int(ms * MS), end_ns, status=status, kind=kind) for _ in range(n)])
    assert s.post(body, **(headers or {}))[0] == 200


def points(family):
    return {tuple(sorted((x["name"], x["value"]) for x in m["labels"])): [p["gaugeValue"]["doubleValue"] for p in m["metricPoints"]] for m in family["metrics"]}


def monitor(s):
    now = int(time.time()) * 1000
    end = now * MS
    spans(s, "shop", "GET /", end - 30 * SEC, 100, n=50)
    spans(s, "shop", "GET /", end - 30 * SEC, 400, n=50)
    spans(s, "shop", "POST /", end - 30 * SEC, 10, n=20, status=2)
    spans(s, "shop", "SELECT", end - 30 * SEC, 5, n=40, kind=3)
    spans(s, "quiet", "op", end - 30 * SEC, 1, n=10)
    for port, base in (("jaeger", "/api/metrics"), ("main", "/select/jaeger/api/metrics")):
        def ask(what, **args):
            a = {"endTs": now, "lookback": 60000, "step": 60000, "ratePer": 60000, **args}
            return s.json(port, f"{base}/{what}", **{k: v for k, v in a.items() if v is not None})
        f = ask("calls", service="shop")
        assert list(f) == ["name", "type", "help", "metrics"] and f["name"] == "service_call_rate" and f["type"] == "GAUGE", f
        assert f["help"] == "calls/sec, grouped by service"
        assert list(f["metrics"][0]["metricPoints"][0]) == ["gaugeValue", "timestamp"]
        stamps = [p["timestamp"] for p in f["metrics"][0]["metricPoints"]]
        assert stamps == [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now // 1000))], stamps
        assert points(f) == {(("service_name", "shop"),): [2.0]}, f  # 120 server spans in a minute
        f = ask("calls", service=["shop", "quiet", "nobody"], groupByOperation="true", spanKind=["server", "client"])
        assert f["name"] == "service_operation_call_rate" and f["help"] == "calls/sec, grouped by service & operation"
        got = {k: round(v[0], 6) for k, v in points(f).items()}
        op = lambda o, svc="shop": (("operation", o), ("service_name", svc))  # noqa: E731
        assert got == {op("GET /"): 1.666667, op("POST /"): 0.333333, op("SELECT"): 0.666667, op("op", "quiet"): 0.166667}, got
        f = ask("errors", service=["shop", "quiet"])
        assert f["name"] == "service_error_rate"
        assert {k: round(v[0], 6) for k, v in points(f).items()} == {(("service_name", "shop"),): 0.166667, (("service_name", "quiet"),): 0.0}, f
        f = ask("latencies", service="shop", quantile="0.95")
        assert f["name"] == "service_latencies" and f["help"] == "0.95th quantile latency, grouped by service"
        v = points(f)[(("service_name", "shop"),)][0]
        assert 336 <= v <= 476, v  # within a quarter octave of 400 ms
        v = points(ask("latencies", service="shop", quantile="0.5"))[(("service_name", "shop"),)][0]
        assert 84 <= v <= 119, v
        assert ask("calls", service="nobody")["metrics"] == []
        assert s.json(port, base + "/minstep")["data"] == 1
        # Finer steps: a point for each with calls in its window.
        f = ask("calls", service="quiet", step=10000, ratePer=10000)
        assert len(f["metrics"][0]["metricPoints"]) == 1 and points(f)[(("service_name", "quiet"),)] == [1.0]
        # The defaults: an hour back in steps of 5 s, rates over 10 minutes.
        f = s.json(port, base + "/calls", service="shop")
        assert f["metrics"] and len(f["metrics"][0]["metricPoints"]) <= 12, "from the end of the spans on"
        for q in ("calls", "calls?service=shop&step=0", "calls?service=shop&lookback=x", "calls?service=shop&groupByOperation=maybe",
                  "calls?service=shop&spanKind=nope", "latencies?service=shop", "latencies?service=shop&quantile=x", "calls?service=shop&step=1&lookback=99999999"):
            code, body, _ = s.get(port, f"{base}/{q}")
            assert code == 400 and json.loads(body)["errors"][0]["code"] == 400, (q, code, body)
        filt = '"resource_attr:service.name":="quiet"'
        assert ask("calls", service=["shop", "quiet"], extra_filters=filt)["metrics"][0]["labels"] == [{"name": "service_name", "value": "quiet"}]


def instant(s, query, tenant="0"):
    r = s.json("main", f"/select/{tenant}/prometheus/api/v1/query", query=query, nocache=1)["data"]["result"]
    return {tuple(sorted((k, v) for k, v in x["metric"].items() if k != "__name__")): float(x["value"][1]) for x in r}


def value(s, query, tenant="0"):
    got = list(instant(s, query, tenant).values())
    return got[0] if len(got) == 1 else None


def wait_value(s, query, want, tenant="0"):
    until = time.time() + 30
    while time.time() < until:
        got = value(s, query, tenant)
        if got == want:
            return
        time.sleep(0.2)
    raise AssertionError(f"{query}: {got}, want {want}")


CALLS = "traces_span_metrics_calls_total"


def span_metrics():
    flags = ("-traces.spanmetrics=1s", "-traces.spanmetrics.maxSeries=20", "-search.latencyOffset=0s", "-traces.spanmetrics.dimensions=tenant,k8s.cluster.name")
    s = Server(*flags)
    try:
        now = time.time_ns()
        spans(s, "shop", "GET", now, 30, n=8, resource={"tenant": "a", "k8s.cluster.name": "c1"})
        spans(s, "shop", "GET", now, 3000, n=2, status=2, resource={"tenant": "a", "k8s.cluster.name": "c1"})
        spans(s, "other", "x", now, 1, n=3, kind=1)
        spans(s, "seven", "x", now, 1, n=4, headers={"AccountID": "7", "ProjectID": "3"})
        wait_value(s, f"sum({CALLS})", 13)
        assert instant(s, CALLS + '{service_name="shop"}') == {
            tuple(sorted({"service_name": "shop", "span_name": "GET", "span_kind": "SPAN_KIND_SERVER", "status_code": c, "tenant": "a", "k8s_cluster_name": "c1"}.items())): n
            for c, n in (("STATUS_CODE_UNSET", 8), ("STATUS_CODE_ERROR", 2))}
        wait_value(s, f"sum({CALLS})", 4, "7:3")
        assert value(s, CALLS + '{service_name="seven"}') is None
        # The first interval counts, though nothing stood before it.
        wait_value(s, f"sum(increase({CALLS}[5m]))", 13)
        wait_value(s, 'sum(increase(traces_span_metrics_duration_milliseconds_bucket{le="50"}[5m])) / sum(increase(traces_span_metrics_duration_milliseconds_count[5m]))', 11 / 13)
        q = value(s, 'histogram_quantile(0.5, sum(rate(traces_span_metrics_duration_milliseconds_bucket{service_name="shop"}[5m])) by (le))')
        assert 10 < q <= 50, q
        # Jaeger's own query.
        got = instant(s, f'sum(rate({CALLS}{{service_name =~ "shop", status_code = "STATUS_CODE_ERROR", span_kind =~ "SPAN_KIND_SERVER"}}[5m])) by (service_name)'
                         f' / sum(rate({CALLS}{{service_name =~ "shop", span_kind =~ "SPAN_KIND_SERVER"}}[5m])) by (service_name)')
        # Two series may begin an interval apart, which their rates show; what they grew by does not.
        assert list(got) == [(("service_name", "shop"),)] and 0.1 < got[(("service_name", "shop"),)] < 0.4, got
        wait_value(s, f'sum(increase({CALLS}{{service_name="shop",status_code="STATUS_CODE_ERROR"}}[5m])) / sum(increase({CALLS}{{service_name="shop"}}[5m]))', 0.2)
        meta = s.json("main", "/prometheus/api/v1/metadata", metric=CALLS)["data"]
        assert meta[CALLS][0]["type"] == "counter", meta
        # Kill and stop: a reset that increase() sees, whether the new value is smaller or larger.
        s.restart(9)
        spans(s, "shop", "GET", time.time_ns(), 30, n=20, resource={"tenant": "a", "k8s.cluster.name": "c1"})
        wait_value(s, f'sum({CALLS}{{service_name="shop",status_code="STATUS_CODE_UNSET"}})', 20)
        wait_value(s, f'sum(increase({CALLS}{{service_name="shop"}}[5m]))', 30)
        spans(s, "shop", "GET", time.time_ns(), 30, n=5, resource={"tenant": "a", "k8s.cluster.name": "c1"})
        s.restart(15)  # a clean stop writes what there is
        wait_value(s, f'sum(increase({CALLS}{{service_name="shop"}}[5m]))', 35)
        # Names without end.
        for i in range(40):
            spans(s, "wide", f"/user/{i}", time.time_ns(), 1)
        wait_value(s, f'{CALLS}{{service_name="wide",otel_metric_overflow="true"}}', 20)
        assert value(s, f'count({CALLS}{{service_name="wide"}})') == 21
        assert s.metric("kofstore_spanmetrics_overflow_spans_total") == 20
        assert s.metric("kofstore_spanmetrics_write_errors_total") == 0
    finally:
        s.close()


def main():
    s = Server()
    try:
        monitor(s)
        text = s.get("main", "/metrics")[1].replace(b"traces.spanmetrics", b"")
        assert [x for x in text.splitlines() if b"spanmetrics" in x] == [b'vm_rows_inserted_total{type="spanmetrics"} 0'], "off by default"
    finally:
        s.close()
    span_metrics()
    print("metrics of traces: all as expected")


if __name__ == "__main__":
    main()
