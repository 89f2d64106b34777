#!/usr/bin/env python3
"""OTLP metrics over HTTP: protobuf and JSON, all kinds of metrics, partial success; compared with VictoriaMetrics where it is at hand."""
import base64
import gzip

from ingest_lib import *

T = 1700000000
NS = T * 10**9


# One request in JSON; its protobuf is made from it by the table below.
def attr(key, **value):
    return {"key": key, "value": value}


def request(metrics, resource=(), scope=None):
    sm = {"metrics": metrics}
    if scope is not None:
        sm["scope"] = scope
    return {"resourceMetrics": [{"resource": {"attributes": list(resource)}, "scopeMetrics": [sm]}]}


STR, BOOL, INT, SINT, FIX, DBL, B64 = range(7)
ANY = {}
KV = {"key": (1, STR), "value": (2, ANY)}
ANY.update({"stringValue": (1, STR), "boolValue": (2, BOOL), "intValue": (3, INT), "doubleValue": (4, DBL),
            "arrayValue": (5, {"values": (1, ANY)}), "kvlistValue": (6, {"values": (1, KV)}), "bytesValue": (7, B64)})
NUMBER = {"attributes": (7, KV), "timeUnixNano": (3, FIX), "asDouble": (4, DBL), "asInt": (6, FIX), "flags": (8, INT)}
HIST = {"attributes": (9, KV), "timeUnixNano": (3, FIX), "count": (4, FIX), "sum": (5, DBL), "bucketCounts": (6, FIX),
        "explicitBounds": (7, DBL), "flags": (10, INT), "min": (11, DBL), "max": (12, DBL)}
BUCKETS = {"offset": (1, SINT), "bucketCounts": (2, INT)}
EXP = {"attributes": (1, KV), "timeUnixNano": (3, FIX), "count": (4, FIX), "sum": (5, DBL), "scale": (6, SINT), "zeroCount": (7, FIX),
       "positive": (8, BUCKETS), "negative": (9, BUCKETS), "flags": (10, INT), "zeroThreshold": (14, DBL)}
SUMMARY = {"attributes": (7, KV), "timeUnixNano": (3, FIX), "count": (4, FIX), "sum": (5, DBL),
           "quantileValues": (6, {"quantile": (1, DBL), "value": (2, DBL)}), "flags": (8, INT)}
METRIC = {"name": (1, STR), "description": (2, STR), "unit": (3, STR), "gauge": (5, {"dataPoints": (1, NUMBER)}),
          "sum": (7, {"dataPoints": (1, NUMBER), "aggregationTemporality": (2, INT), "isMonotonic": (3, BOOL)}),
          "histogram": (9, {"dataPoints": (1, HIST), "aggregationTemporality": (2, INT)}),
          "exponentialHistogram": (10, {"dataPoints": (1, EXP), "aggregationTemporality": (2, INT)}),
          "summary": (11, {"dataPoints": (1, SUMMARY)})}
REQUEST = {"resourceMetrics": (1, {
    "resource": (1, {"attributes": (1, KV)}),
    "scopeMetrics": (2, {"scope": (1, {"name": (1, STR), "version": (2, STR), "attributes": (3, KV)}), "metrics": (2, METRIC)})})}


def encode(value, message):
    out = b""
    for key, item in value.items():
        number, kind = message[key]
        for v in item if isinstance(item, list) else [item]:
            if isinstance(kind, dict):
                out += pb_bytes(number, encode(v, kind))
            elif kind == STR:
                out += pb_bytes(number, v)
            elif kind == B64:
                out += pb_bytes(number, base64.b64decode(v))
            elif kind in (BOOL, INT):
                out += pb_varint(number, int(v))
            elif kind == SINT:
                out += varint(number << 3) + zigzag(int(v))
            elif kind == FIX:
                out += pb_fixed64(number, int(v))
            else:
                out += pb_double(number, float(v))
    return out


RESOURCE = [attr("service.name", stringValue="shop"), attr("pid", intValue="-42"), attr("ok", boolValue=True), attr("load", doubleValue=0.25),
            attr("ids", arrayValue={"values": [{"intValue": "1"}, {"stringValue": "b\"c"}, {"boolValue": False}, {"doubleValue": 1.5}]}),
            attr("nest", kvlistValue={"values": [attr("a", stringValue="x"), attr("deep", kvlistValue={"values": [attr("b", intValue="7")]})]}),
            attr("raw", bytesValue="AAEC/w==")]
SCOPE = {"name": "lib", "version": "1.2", "attributes": [attr("team", stringValue="core")]}
METRICS = [
    {"name": "temp.now", "unit": "Cel", "description": "how warm", "gauge": {"dataPoints": [
        {"timeUnixNano": str(NS), "asDouble": 21.5, "attributes": [attr("room", stringValue="a")]},
        {"timeUnixNano": str(NS + 10**6), "asInt": "-3", "attributes": [attr("room", stringValue="b")]},
        {"timeUnixNano": str(NS), "flags": 1, "attributes": [attr("room", stringValue="gone")]}]}},
    {"name": "http.requests", "unit": "1", "sum": {"isMonotonic": True, "aggregationTemporality": 2, "dataPoints": [
        {"timeUnixNano": str(NS), "asInt": "1234567890123"}]}},
    {"name": "delta", "unit": "By/s", "sum": {"isMonotonic": False, "aggregationTemporality": 1, "dataPoints": [
        {"timeUnixNano": str(NS), "asDouble": 5}]}},
    {"name": "latency", "unit": "ms", "histogram": {"aggregationTemporality": 2, "dataPoints": [
        {"timeUnixNano": str(NS), "count": "6", "sum": 12.5, "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 10],
         "attributes": [attr("path", stringValue="/")]},
        {"timeUnixNano": str(NS), "count": "1", "bucketCounts": ["1"], "explicitBounds": [], "attributes": [attr("path", stringValue="/x")]}]}},
    {"name": "sizes", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
        {"timeUnixNano": str(NS), "count": "17", "sum": 99.5, "scale": 2, "zeroCount": "3", "zeroThreshold": 0.001,
         "positive": {"offset": -3, "bucketCounts": ["1", "0", "4", "2"]}, "negative": {"offset": 1, "bucketCounts": ["3", "4"]}}]}},
    {"name": "rpc", "summary": {"dataPoints": [{"timeUnixNano": str(NS), "count": "9", "sum": 4.5, "quantileValues": [
        {"quantile": 0.5, "value": 1}, {"quantile": 0.99, "value": 2.5}]}]}},
]
FULL = request(METRICS, RESOURCE, SCOPE)
PB = {"Content-Type": "application/x-protobuf"}
JS = {"Content-Type": "application/json"}
ALL = '{__name__!=""}'


def kinds():
    with kofstore() as s, kofstore() as j:
        status, headers, body = s.http("/opentelemetry/v1/metrics", encode(FULL, REQUEST), PB)
        check("protobuf", (status, headers["Content-Type"], body), (200, "application/x-protobuf", b""))
        status, headers, body = j.http("/v1/metrics", gzip.compress(json.dumps(FULL).encode()), {**JS, "Content-Encoding": "gzip"})
        check("json", (status, headers["Content-Type"], json.loads(body)), (200, "application/json", {"partialSuccess": {}}))
        mine = s.export(ALL)
        check_true("json is protobuf", mine == j.export(ALL))
        common = {"service.name": "shop", "pid": "-42", "ok": "true", "load": "0.25", "ids": '[1,"b\\"c",false,1.5]', "nest.a": "x",
                  "nest.deep.b": "7", "raw": "AAEC/w==", "scope.name": "lib", "scope.version": "1.2", "scope.attributes.team": "core"}

        def one(**more):
            return mine.get(",".join(f"{k}={v}" for k, v in sorted({**common, **more}.items())))

        check("gauge", one(__name__="temp.now", room="a"), [(T * 1000, 21.5)])
        check("gauge int", one(__name__="temp.now", room="b"), [(T * 1000 + 1, -3)])
        check("stale", one(__name__="temp.now", room="gone"), [(T * 1000, None)])
        check("sum", one(__name__="http.requests"), [(T * 1000, 1234567890123)])
        check("delta as is", one(__name__="delta"), [(T * 1000, 5)])
        check("buckets", [one(__name__="latency_bucket", path="/", le=le)[0][1] for le in ("0.5", "10", "+Inf")], [1, 3, 6])
        check("summary", one(__name__="rpc", quantile="0.99"), [(T * 1000, 2.5)])
        check("vmrange", sorted(k.split("vmrange=")[1] for k in mine if k.startswith("__name__=sizes_bucket")), [
            "-1.000e-03...1.000e-03", "-1.414e+00...-1.189e+00", "-1.682e+00...-1.414e+00", "1.000e+00...1.189e+00",
            "5.946e-01...7.071e-01", "8.409e-01...1.000e+00"])
        status, _, body = s.http("/api/v1/metadata", args={"metric": "temp.now"})
        check("metadata", json.loads(body)["data"], {"temp.now": [{"type": "gauge", "help": "how warm", "unit": "Cel"}]})


def partial():
    with kofstore() as s:
        bad = request([{"name": "m", "gauge": {"dataPoints": [
            {"timeUnixNano": str(NS), "asInt": "1"}, {"asInt": "2"}, {"timeUnixNano": str(NS)}]}},
            {"name": "h", "histogram": {"dataPoints": [{"timeUnixNano": str(NS), "count": "1", "bucketCounts": ["1", "2"], "explicitBounds": []}]}}])
        status, _, body = s.http("/opentelemetry/v1/metrics", json.dumps(bad).encode(), JS)
        got = json.loads(body)["partialSuccess"]
        check("partial json", (status, got["rejectedDataPoints"], "metric m: a point without time" in got["errorMessage"]), (200, "3", True))
        status, _, body = s.http("/opentelemetry/api/v1/push", encode(bad, REQUEST), PB)
        inner = {n: v for n, _, v in pb_walk(pb_walk(body)[0][2])}
        check("partial protobuf", (status, inner[1], b"without time" in inner[2]), (200, 3, True))
        check("good point kept", s.export(ALL), {"__name__=m": [(T * 1000, 1)]})
        future = request([{"name": "f", "gauge": {"dataPoints": [{"timeUnixNano": str(4 * 10**18), "asInt": "1"}]}}])
        got = json.loads(s.http("/v1/metrics", json.dumps(future).encode(), JS)[2])["partialSuccess"]
        check("too new", (got["rejectedDataPoints"], "retention" in got["errorMessage"]), ("1", True))
        for what, body, headers, text in (
                ("cut protobuf", encode(FULL, REQUEST)[:-5], PB, b"malformed protobuf: field ExportMetricsServiceRequest at byte 0"),
                ("no name", encode(request([{"gauge": {"dataPoints": []}}]), REQUEST), PB, b"Metric.name (missing)"),
                ("cut json", b'{"resourceMetrics":[{', JS, b"at byte 21"),
                ("bad json value", b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":7}]}]}]}', JS, b"Metric.name at byte"),
                ("no json", b"x", JS, b"want an object"),
                ("bad gzip", b"x", {**PB, "Content-Encoding": "gzip"}, b"gzip")):
            status, _, body = s.http("/v1/metrics", body, headers)
            check_true(what, status == 400 and text in body, f"{status} {body}")
        check("tenant", s.http("/insert/9:1/opentelemetry/v1/metrics", json.dumps(FULL).encode(), JS, {"extra_label": "x=y"})[0], 200)
        check("tenant read", len(s.export('{x="y",__name__="rpc"}', "/select/9:1/prometheus")), 2)
        tenant = request([METRICS[1]], [attr("vm_account_id", intValue="11")])
        check("multitenant", s.http("/insert/multitenant/opentelemetry/v1/metrics", encode(tenant, REQUEST), PB)[0], 200)
        check("multitenant read", sorted(s.export(ALL, "/select/11/prometheus")), ["__name__=http.requests"])


def against_peer():
    path = peer("victoria-metrics")
    if not path:
        return
    for flags in ([], ["-opentelemetry.usePrometheusNaming"], ["-usePromCompatibleNaming"]):
        with kofstore(*flags) as s, victoria_metrics(path, *flags) as vm:
            body = encode(FULL, REQUEST)
            odd = request([{"name": n, "unit": u, "gauge": {"dataPoints": [{"timeUnixNano": str(NS), "asInt": "1", "attributes": [
                attr("_a", stringValue="1"), attr("1b", stringValue="2"), attr("__c", stringValue="3"), attr("d-e", stringValue="4")]}]}}
                for n, u in (("a.b:c/d e", "{x}/s"), ("ratio", "1"), ("bytes_used", "By"), ("speed", "m/s"), ("x.total", "s"), ("9lives", "d"), ("k", " h / w "))])
            odd["resourceMetrics"][0]["scopeMetrics"][0]["scope"] = {}
            for one in (s, vm):
                check("peer push", one.http("/opentelemetry/v1/metrics", body, PB)[0], 200)
                check("peer push", one.http("/opentelemetry/api/v1/push", encode(odd, REQUEST), PB)[0], 200)
            vm.flush()
            mine, theirs = s.export(ALL), vm.export(ALL)
            check_true(f"same as VictoriaMetrics {flags}", mine == theirs,
                       f"\n  ours alone {sorted(set(mine) - set(theirs))[:5]}\n  theirs alone {sorted(set(theirs) - set(mine))[:5]}")


kinds()
partial()
against_peer()
finish()
