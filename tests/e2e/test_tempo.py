#!/usr/bin/env python3
"""Tempo's read API over the trace store: what Grafana's Tempo datasource asks, JSON and protobuf, TraceQL, tags, filters."""
import base64
import os
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(__file__))
from ingest_lib import pb_walk  # noqa: E402
from trace_lib import Server, request, span  # noqa: E402

SEC = 10 ** 9
TID = bytes.fromhex("1163d809514711c4503f981a9634c021")
BASE = "/select/tempo/api"


def walk(data):
    """Fields of a protobuf message: (number, value)."""
    return [(number, value) for number, _, value in pb_walk(data)]


def spans_of(trace):
    """(trace id, span id, name) of a protobuf trace."""
    out = []
    for n, rs in walk(trace):
        assert n == 1
        for m, ss in walk(rs):
            for k, sp in (walk(ss) if m == 2 else ()):
                if k == 2:
                    f = dict(walk(sp))
                    out.append((f[1], f[2], f[5].decode()))
    return out


def fill(s, now):
    a = request({"service.name": "shop", "tenant": "a", "k8s.pod.name": "p1"}, [
        span(TID, b"\1" * 8, "GET /", now - SEC, now, attrs={"http.status_code": 500, "cached": False, "ratio": 0.5, "url": "/x y"}, status=2, message="boom",
             events=[(now - SEC // 2, "exception", {"exception.type": "E"})], links=[(b"\5" * 16, b"\6" * 8, {"why": "w"})]),
        span(TID, b"\2" * 8, "db", now - 9 * SEC // 10, now - SEC // 10, parent=b"\1" * 8, kind=3)])
    b = request({"service.name": "pg", "tenant": "b"}, [
        span(TID, b"\3" * 8, "query", now - 8 * SEC // 10, now - 2 * SEC // 10, parent=b"\2" * 8, kind=0)])
    assert s.post(a + b)[0] == 200
    many = b"".join(request({"service.name": "many"}, [span(bytes([7, i // 256, i % 256]) + b"\1" * 13, b"\1" * 8, f"op{i % 5}", now, now + (i + 1) * 10 ** 6,
                                                            attrs={"i": i})]) for i in range(600))
    assert s.post(many)[0] == 200


def search(s, **args):
    return s.json("main", BASE + "/search", **args)["traces"]


def searches(s, now):
    t = search(s, q='{ resource.service.name = "shop" && span.http.status_code >= 500 }')
    want_span = {"spanID": "01" * 8, "name": "GET /", "startTimeUnixNano": str(now - SEC), "durationNanos": str(SEC),
                 "attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    assert t == [{"traceID": TID.hex(), "rootServiceName": "shop", "rootTraceName": "GET /", "startTimeUnixNano": str(now - SEC), "durationMs": 1000,
                  "spanSet": {"spans": [want_span], "matched": 1}, "spanSets": [{"spans": [want_span], "matched": 1}],
                  "serviceStats": {"pg": {"spanCount": 1}, "shop": {"spanCount": 2, "errorCount": 1}}}], t
    for q, n in (('{ name = "query" } && { status = error }', 1), ('{ name = "query" && status = error }', 0), ('{ .url =~ "/x.*" }', 1), ('{ kind = client }', 1),
                 ('{ rootName = "GET /" }', 1), ('{ traceDuration > 900ms }', 1), ('{ event.exception.type = "E" }', 1), ('{ resource.service.name =~ "sh.*|pg" }', 1)):
        got = search(s, q=q)
        assert len(got) == n, (q, len(got))
    # Limits; what the ring cannot look for itself is looked for until there is enough.
    assert len(search(s, q='{ resource.service.name = "many" }')) == 20
    assert len(search(s, q='{ resource.service.name = "many" }', limit=500)) == 500
    got = search(s, q="{ .i < 7 }", limit=5)
    assert [x["traceID"][:6] for x in got] == [f"07{i:04x}" for i in (6, 5, 4, 3, 2)], [x["traceID"] for x in got]
    assert len(search(s, q="{ .i < 7 }", limit=50)) == 7
    assert len(search(s, q="{}", limit=1000)) == 601
    assert len(search(s, q='{ name = "op3" && .i >= 100 && .i < 200 }', limit=100)) == 20
    assert search(s, q="{}", limit=1000, spss=1)[0]["spanSet"]["matched"] == 1
    # Times in seconds.
    at = now // SEC
    assert len(search(s, q='{ name = "GET /" }', start=at - 60, end=at + 60)) == 1
    assert search(s, q='{ name = "GET /" }', start=at + 60, end=at + 90) == []
    # Without TraceQL.
    assert [x["traceID"] for x in search(s, tags='service.name=shop http.status_code=500')] == [TID.hex()]
    assert [x["traceID"] for x in search(s, tags='url="/x y"', minDuration="900ms", maxDuration="2s")] == [TID.hex()]
    assert search(s, tags="service.name=nobody") == []
    for q, text in (("{ name = }", "byte"), ("{} >> {}", "not supported"), ("{} | rate()", "not supported")):
        code, body, _ = s.get("main", BASE + "/search?q=" + urllib.parse.quote(q))
        assert code == 400 and text in body.decode(), (q, code, body)
    for bad in ("start=x", "end=-1", "limit=x", "limit=-1", "minDuration=x", "tags=x", "tags=a=%22b"):
        assert s.get("main", f"{BASE}/search?{bad}")[0] == 400, bad


def traces(s, now):
    doc = s.json("main", f"{BASE}/traces/{TID.hex()}")
    assert list(doc) == ["batches"] and len(doc["batches"]) == 2
    one = doc["batches"][0]["scopeSpans"][0]["spans"][0]
    assert one["traceId"] == base64.b64encode(TID).decode() and one["spanId"] == base64.b64encode(b"\1" * 8).decode() and "parentSpanId" not in one
    assert one["kind"] == "SPAN_KIND_SERVER" and one["status"] == {"message": "boom", "code": "STATUS_CODE_ERROR"} and one["startTimeUnixNano"] == str(now - SEC)
    assert one["attributes"][0] == {"key": "http.status_code", "value": {"intValue": "500"}}
    assert one["links"][0]["traceId"] == base64.b64encode(b"\5" * 16).decode()
    child = doc["batches"][0]["scopeSpans"][0]["spans"][1]
    assert child["parentSpanId"] == base64.b64encode(b"\1" * 8).decode() and child["kind"] == "SPAN_KIND_CLIENT" and child["status"] == {}
    assert "kind" not in doc["batches"][1]["scopeSpans"][0]["spans"][0]
    v2 = s.json("main", f"{BASE}/v2/traces/{TID.hex()}", start=1, end=2)
    assert v2["trace"]["resourceSpans"] == doc["batches"] and "metrics" in v2
    want = [(TID, bytes([i]) * 8, n) for i, n in ((1, "GET /"), (2, "db"), (3, "query"))]
    code, body, head = s.call("main", f"{BASE}/traces/{TID.hex()}", headers={"Accept": "application/protobuf"})
    assert code == 200 and head["Content-Type"] == "application/protobuf" and spans_of(body) == want
    code, body, _ = s.call("main", f"{BASE}/v2/traces/{TID.hex()}", headers={"Accept": "application/protobuf"})
    assert code == 200 and spans_of(dict(walk(body))[1]) == want
    for path in ("/traces/", "/v2/traces/"):
        assert s.get("main", BASE + path + "42" * 16)[0] == 404
        assert s.get("main", BASE + path + "xyz")[0] == 400


def tags(s):
    names = s.json("main", BASE + "/search/tags", q='{ resource.service.name = "shop" }')["tagNames"]
    assert {"service.name", "http.status_code", "k8s.pod.name", "exception.type", "why"} <= set(names) and names == sorted(names) and len(names) == len(set(names)), names
    scopes = {x["name"]: x["tags"] for x in s.json("main", BASE + "/v2/search/tags", q='{ resource.service.name = "shop" }')["scopes"]}
    assert scopes["resource"] == ["k8s.pod.name", "service.name", "tenant"] and scopes["span"] == ["cached", "http.status_code", "ratio", "url"], scopes
    assert scopes["event"] == ["exception.type"] and scopes["link"] == ["why"] and "duration" in scopes["intrinsic"]
    only = s.json("main", BASE + "/v2/search/tags", scope="resource")["scopes"]
    assert [x["name"] for x in only] == ["resource"] and "service.name" in only[0]["tags"]
    assert s.json("main", BASE + "/search/tag/service.name/values")["tagValues"] == ["many", "pg", "shop"]
    def v2(tag, **args):
        return [(x["type"], x["value"]) for x in s.json("main", f"{BASE}/v2/search/tag/{tag}/values", **args)["tagValues"]]
    assert v2("resource.service.name") == [("string", "many"), ("string", "pg"), ("string", "shop")]
    assert v2(".service.name", q='{ name = "query" }') == [("string", "pg")]
    assert v2("span.http.status_code") == [("int", "500")] and v2("span.cached") == [("bool", "false")] and v2("span.ratio") == [("float", "0.5")]
    assert v2("status") == [("keyword", "error"), ("keyword", "ok"), ("keyword", "unset")]
    assert ("keyword", "server") in v2("kind")
    assert v2("name", q='{ resource.service.name = "shop" }') == [("string", "GET /"), ("string", "db")]
    assert v2("rootServiceName", q='{ name = "query" }') == [("string", "shop")]
    assert v2("span.nothing") == [] and len(v2("span.i")) == 600
    assert s.get("main", BASE + "/search/tag/values")[0] == 404


def access(s):
    f = {"extra_filters": '"resource_attr:tenant":="b"'}
    assert len(search(s, q="{}", **f)) == 1 and search(s, q='{ name = "GET /" }', **f) == []
    assert [x["serviceStats"] for x in search(s, q="{}", **f)] == [{"pg": {"spanCount": 1}}]
    doc = s.json("main", f"{BASE}/traces/{TID.hex()}", **f)
    assert [x["name"] for x in doc["batches"][0]["scopeSpans"][0]["spans"]] == ["query"] and len(doc["batches"]) == 1
    assert s.json("main", BASE + "/search/tag/service.name/values", **f)["tagValues"] == ["pg"]
    assert s.json("main", BASE + "/search/tags", **f)["tagNames"] == ["service.name", "tenant"]
    none = urllib.parse.quote('"resource_attr:tenant":="c"')
    assert s.get("main", f"{BASE}/v2/traces/{TID.hex()}?extra_filters={none}")[0] == 404
    assert s.get("main", f"{BASE}/search?extra_filters=bogus")[0] == 400


def history():
    """What the ring has evicted is found on disk, each trace once and in order."""
    s = Server("-traces.maxTraces=50", "-traces.retentionPeriod=7d")
    try:
        now = time.time_ns()
        fill(s, now)
        assert [x["traceID"] for x in search(s, q='{ name = "query" } && { status = error }')] == [TID.hex()]
        assert len(s.json("main", f"{BASE}/traces/{TID.hex()}")["batches"]) == 2
        assert len(search(s, q="{ .i < 7 }", limit=50)) == 7
        ids = [x["traceID"] for x in search(s, q="{}", limit=1000)]
        assert len(ids) == len(set(ids)) == 601, (len(ids), len(set(ids)))
        assert s.json("main", BASE + "/search/tag/service.name/values")["tagValues"] == ["many", "pg", "shop"]
    finally:
        s.close()


def main():
    s = Server()
    try:
        now = time.time_ns()
        assert s.get("main", BASE + "/echo")[1] == b"echo"
        fill(s, now)
        searches(s, now)
        traces(s, now)
        tags(s)
        access(s)
    finally:
        s.close()
    history()
    print("tempo: all as expected")


if __name__ == "__main__":
    main()
