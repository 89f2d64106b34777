#!/usr/bin/env python3
"""Traces end to end: OTLP's answers, both Jaeger profiles, filters, restarts, real exporters, Grafana's requests."""
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, request, span  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
TID = bytes.fromhex("1163d809514711c4503f981a9634c021")
SEC = 10 ** 9


def demo(now):
    a = request({"service.name": "kof-operator", "tenant": "tenant-a"}, [
        span(TID, b"\1" * 8, "HTTP GET", now - SEC, now, attrs={
            "http.response.status_code": 500, "url": "/<a>", "list": [1, "x", {"k": True}], "ratio": 1.5, "bin": b"abc", "big": 2 ** 60},
            status=2, message="boom", events=[(now - SEC // 2, "exception", {"exception.type": "E"})], flags=257),
        span(TID, b"\2" * 8, "db", now - 9 * SEC // 10, now - SEC // 10, parent=b"\1" * 8, attrs={"db.system": "pg"}, kind=3)])
    b = request({"service.name": "pg", "tenant": "tenant-b"}, [
        span(TID, b"\3" * 8, "query", now - 8 * SEC // 10, now - 2 * SEC // 10, parent=b"\2" * 8)])
    return a + b


def tags(span_json):
    return {t["key"]: (t["type"], t["value"]) for t in span_json["tags"]}


def otlp_answers(s):
    ok = s.post(b"")
    assert (ok[0], ok[1]) == (200, b""), ok
    assert ok[2]["Content-Type"] == "application/x-protobuf"
    code, body, head = s.post(b"\xff\xff\xff")
    assert code == 400 and body[:1] == b"\x08" and head["Content-Type"] == "application/x-protobuf", (code, body)
    code, body, head = s.call("otlp", "/v1/traces", b"{", {"Content-Type": "application/json"})
    assert code == 400 and json.loads(body)["code"] == 3, body
    code, body, _ = s.call("otlp", "/v1/traces", b"{}", {"Content-Type": "application/json"})
    assert code == 200 and json.loads(body) == {"partialSuccess": {}}, body
    assert s.call("otlp", "/v1/traces", b"x", {"Content-Type": "text/plain"})[0] == 415
    assert s.call("otlp", "/v1/traces", method="GET")[0] == 405
    # Ids that are zero are refused, the rest is stored.
    now = time.time_ns()
    bad = request({"service.name": "z"}, [span(b"\0" * 16, b"\1" * 8, "a", now, now), span(b"\x77" * 16, b"\1" * 8, "b", now, now),
                                          span(b"\x77" * 16, b"\0" * 8, "c", now, now)])
    code, body, _ = s.post(bad)
    assert code == 200 and body[:1] == b"\x0a" and b"\x08\x02\x12" in body, body
    assert len(s.json("jaeger", "/api/traces/" + "77" * 16)["data"][0]["spans"]) == 1
    # Unpacked size counts.
    code, _, _ = s.post(gzip.compress(b"\0" * (65 << 20)), Content_Encoding="gzip")
    assert code == 413, code
    # JSON as clients in the wild send it: hex in capitals, numbers and strings for integers, names of enumerations.
    doc = {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json"}}]}, "scopeSpans": [{"spans": [
        {"traceId": "ABCDEF00000000000000000000000001", "spanId": "00000000000000AA", "name": "n", "kind": "SPAN_KIND_CLIENT", "flags": 257,
         "startTimeUnixNano": str(now), "endTimeUnixNano": now + 5000, "status": {"code": 2}, "unknown": [1],
         "attributes": [{"key": "i", "value": {"intValue": 7}}, {"key": "j", "value": {"intValue": "-7"}}, {"key": "d", "value": {"doubleValue": "NaN"}},
                        {"key": "e"}]}]}]}]}
    code, body, _ = s.call("otlp", "/v1/traces", json.dumps(doc).encode(), {"Content-Type": "application/json; charset=utf-8"})
    assert code == 200, body
    got = s.json("main", "/select/jaeger/api/traces/abcdef00000000000000000000000001")["data"][0]["spans"][0]
    assert tags(got)["i"] == ("string", "7") and tags(got)["j"] == ("string", "-7") and tags(got)["span.kind"] == ("string", "client")
    assert got["duration"] == 5


def both_profiles(s):
    now = time.time_ns()
    assert s.post(demo(now), path="/v1/traces")[0] == 200
    vt, own = "/select/jaeger/api", "/api"
    assert {"kof-operator", "pg"} <= set(s.json("main", vt + "/services")["data"])
    assert s.json("main", vt + "/services/kof-operator/operations")["data"] == ["HTTP GET", "db"]
    assert s.json("jaeger", own + "/operations", service="kof-operator")["data"] == [
        {"name": "HTTP GET", "spanKind": "server"}, {"name": "db", "spanKind": "client"}]
    t = s.json("main", vt + "/traces", service="kof-operator", tags='{"resource_attr:tenant":"tenant-a"}')
    assert list(t) == ["data", "errors", "limit", "offset", "total"] and t["total"] == 1
    t = t["data"][0]
    assert list(t) == ["processes", "spans", "traceID", "warnings"]
    one = t["spans"][0]
    assert tags(one)["http.response.status_code"] == ("string", "500") and tags(one)["error"] == ("string", "true")
    assert tags(t["spans"][1])["error"] == ("string", "unset")
    assert t["processes"][one["processID"]] == {"serviceName": "kof-operator", "tags": [{"key": "tenant", "type": "string", "value": "tenant-a"}]}
    t = s.json("jaeger", own + "/traces/" + TID.hex())
    assert list(t) == ["data", "total", "limit", "offset", "errors"]
    one = t["data"][0]["spans"][0]
    want = {"otel.scope.name": ("string", "lib"), "otel.scope.version": ("string", "1.0"), "url": ("string", "/<a>"), "list": ("string", '[1,"x",{"k":true}]'),
            "ratio": ("float64", 1.5), "bin": ("binary", "YWJj"), "big": ("int64", str(2 ** 60)), "http.response.status_code": ("int64", 500),
            "span.kind": ("string", "server"), "otel.status_code": ("string", "ERROR"), "error": ("bool", True), "otel.status_description": ("string", "boom")}
    assert tags(one) == want, tags(one)
    assert one["logs"][0]["fields"][0] == {"key": "event", "type": "string", "value": "exception"}
    assert t["data"][0]["spans"][1]["references"] == [{"refType": "CHILD_OF", "traceID": TID.hex(), "spanID": "01" * 8}]
    for port, base in (("main", vt), ("jaeger", own)):
        # The demo again, and nothing twice: clients send again when an answer was lost.
        code, body, _ = s.get(port, base + "/traces/00000000000000000000000000000042")
        assert code == 404 and json.loads(body)["data"] is None, (code, body)
        assert s.get(port, base + "/traces/xyz")[0] == 400
        assert s.json(port, base + "/dependencies")["data"] == [{"parent": "kof-operator", "child": "pg", "callCount": 1}]
        for q, n in (("minDuration=900ms", 1), ("minDuration=1.5s", 0), ("operation=db", 1), ("operation=nope", 0),
                     ("tags=" + urllib.parse.quote('{"error":"true"}'), 1), ("tags=" + urllib.parse.quote('{"db.system":"pg","error":"true"}'), 0),
                     ("tags=" + urllib.parse.quote('{"http.response.status_code":"500"}'), 1), ("start=1&end=2", 0)):
            got = s.json(port, f"{base}/traces?service=kof-operator&{q}")["data"]
            assert len(got) == n, (port, q, len(got))
        assert s.get(port, base + "/traces?service=a&minDuration=x")[0] == 400
        assert s.get(port, base + "/traces?service=a&limit=100000")[0] == 400
    assert s.get("main", vt + "/traces")[0] == 400
    assert s.post(demo(now))[0] == 200
    assert len(s.json("jaeger", own + "/traces/" + TID.hex())["data"][0]["spans"]) == 3
    several = s.json("jaeger", own + "/traces?traceID=%s&traceID=1234" % TID.hex())
    assert len(several["data"]) == 1 and several["errors"] == [{"msg": "trace not found", "traceID": "0000000000001234"}]
    assert s.get("jaeger", "/api/nothing")[0] == 404


def access_filters(s):
    """What vmauth adds holds on every read; what cannot be applied for certain is refused."""
    f = urllib.parse.quote('"resource_attr:tenant":="tenant-b"')
    base = "/select/jaeger/api"
    assert s.json("main", f"{base}/services?extra_filters={f}")["data"] == ["pg"]
    assert s.json("main", f"{base}/services/pg/operations?extra_filters={f}")["data"] == ["query"]
    assert s.json("main", f"{base}/services/kof-operator/operations?extra_filters={f}")["data"] == []
    assert s.json("main", f"{base}/traces?service=kof-operator&extra_filters={f}")["data"] == []
    t = s.json("main", f"{base}/traces/{TID.hex()}?extra_filters={f}")["data"][0]
    assert [x["operationName"] for x in t["spans"]] == ["query"], t
    none = urllib.parse.quote('"resource_attr:tenant":="tenant-c"')
    assert s.get("main", f"{base}/traces/{TID.hex()}?extra_filters={none}")[0] == 404
    assert s.json("main", f"{base}/dependencies?extra_filters={f}")["data"] == []
    assert s.json("jaeger", f"/api/services?extra_filters={f}")["data"] == ["pg"]
    for bad in ("tenant", "a:b", 'x:="y"', '"resource_attr:tenant":="a" or "resource_attr:tenant":="b"', '"resource_attr:t":~"a"', "{bad"):
        code, body, _ = s.get("main", f"{base}/services?extra_filters={urllib.parse.quote(bad)}")
        assert code == 400, (bad, code, body)
    # A proxy's field takes the place of what the client claims.
    now, tid = time.time_ns(), b"\x55" * 16
    body = request({"service.name": "child", "tenant": "forged"}, [span(tid, b"\5" * 8, "x", now, now + 1)])
    assert s.post(body, port="main", path="/insert/opentelemetry/v1/traces?extra_fields=resource_attr:tenant=real")[0] == 200
    t = s.json("main", f"{base}/traces/{tid.hex()}")["data"][0]
    assert t["processes"]["p1"]["tags"] == [{"key": "tenant", "type": "string", "value": "real"}], t["processes"]


def tenants(s):
    now, tid = time.time_ns(), b"\x66" * 16
    assert s.post(request({"service.name": "seven"}, [span(tid, b"\1" * 8, "x", now, now)]), AccountID="7", ProjectID="3")[0] == 200
    assert s.get("main", "/select/jaeger/api/traces/" + tid.hex())[0] == 404
    code, body, _ = s.call("main", "/select/jaeger/api/traces/" + tid.hex(), headers={"AccountID": "7", "ProjectID": "3"})
    assert code == 200, body
    assert s.json("main", "/select/7:3/jaeger/api/services")["data"] == ["seven"]


def other_protocols(s):
    now = time.time_ns() // 1000
    z = [{"traceId": "00000000000000ab", "id": "00000000000000cd", "parentId": "00000000000000ef", "kind": "CLIENT", "name": "get", "timestamp": now, "duration": 1500,
          "localEndpoint": {"serviceName": "zip", "ipv4": "10.0.0.1"}, "remoteEndpoint": {"serviceName": "db", "port": 5432},
          "tags": {"http.path": "/api", "error": "timeout"}, "annotations": [{"timestamp": now + 5, "value": "cs"}], "shared": False}]
    code, body, _ = s.call("zipkin", "/api/v2/spans", json.dumps(z).encode(), {"Content-Type": "application/json"})
    assert code == 202, (code, body)
    got = s.json("jaeger", "/api/traces/ab")["data"][0]["spans"][0]
    assert got["traceID"] == "00000000000000ab" and got["duration"] == 1500 and tags(got)["peer.service"] == ("string", "db"), got
    assert tags(got)["otel.status_code"] == ("string", "ERROR") and got["logs"][0]["fields"][0]["value"] == "cs"
    assert s.call("zipkin", "/api/v2/spans", b"[{]", {"Content-Type": "application/json"})[0] == 400
    assert s.call("thrift", "/api/traces", b"\x0c", {"Content-Type": "application/x-thrift"})[0] == 400


def restarts(s):
    """kill -9 keeps every span that was acknowledged; so does a clean stop."""
    def ids():
        return {t["traceID"] for t in s.json("jaeger", "/api/traces", service="restart", limit=1000)["data"]}
    want = set()
    for round_ in range(4):
        for i in range(20):
            tid = os.urandom(16)
            now = time.time_ns()
            assert s.post(request({"service.name": "restart"}, [span(tid, os.urandom(8), f"op{i}", now, now + 10, attrs={"n": i, "id": tid.hex()})]))[0] == 200
            want.add(tid.hex())
        before = s.json("jaeger", "/api/dependencies")["data"]
        s.restart(9 if round_ % 2 == 0 else 15)
        assert ids() == want, (round_, len(ids()), len(want))
        assert s.json("jaeger", "/api/dependencies")["data"] == before
        if round_ == 2:
            s.get("main", "/snapshot/create")
    assert s.metric("kofstore_traces_damaged_snapshots_total") == 0


def bounds():
    """First-seen order decides what goes; kept traces outlive it; late spans and refusals are counted."""
    s = Server("-traces.maxTraces=50", "-traces.maxSpansPerTrace=5", "-traces.keep=error or duration>10s", "-traces.maxKept=10")
    try:
        now = time.time_ns()
        first = bytes([9]) * 16
        s.post(request({"service.name": "a"}, [span(first, b"\1" * 8, "e", now, now + 1, status=2)]))
        for i in range(60):
            s.post(request({"service.name": "a"}, [span(bytes([1, i]) * 8, b"\1" * 8, "x", now, now + 1)]))
        assert s.get("jaeger", "/api/traces/" + first.hex())[0] == 200, "a trace with an error is kept"
        assert s.get("jaeger", "/api/traces/" + (bytes([1, 0]) * 8).hex())[0] == 404
        assert s.get("jaeger", "/api/traces/" + (bytes([1, 59]) * 8).hex())[0] == 200
        assert s.metric("kofstore_traces_live") == 50 and s.metric("kofstore_traces_kept") == 1
        s.post(request({"service.name": "a"}, [span(bytes([1, 0]) * 8, b"\2" * 8, "late", now, now + 1)]))
        assert s.metric("kofstore_traces_late_spans_total") == 1
        tid = b"\x44" * 16
        code, body, _ = s.post(request({"service.name": "a"}, [span(tid, bytes([i + 1]) * 8, "x", now, now + 1) for i in range(9)]))
        assert code == 200 and b"\x08\x04" in body, body
        s.restart()
        assert s.get("jaeger", "/api/traces/" + first.hex())[0] == 200
        assert len(s.json("jaeger", "/api/traces/" + tid.hex())["data"][0]["spans"]) == 5
    finally:
        s.close()


def grafana(s):
    """The requests of Grafana's Jaeger datasource, 10.4 and 12, and those recorded of KOF."""
    now = time.time_ns() // 1000
    end, start = now, now - 3600 * 10 ** 6
    for port, base in (("main", "/select/jaeger"), ("jaeger", "")):
        assert "kof-operator" in s.json(port, base + "/api/services")["data"]
        s.json(port, base + "/api/services/kof-operator/operations")
        s.json(port, base + "/api/services/a/b/operations")
        s.json(port, f"{base}/api/traces?service=kof-operator&operation=HTTP%20GET&tags=%7B%22error%22%3A%22true%22%7D&minDuration=1ms&maxDuration=10s&limit=20&start={start}&end={end}&lookback=custom")
        s.json(port, f"{base}/api/traces/{TID.hex()}?start={start // 1000}&end={end // 1000}")
        s.json(port, f"{base}/api/dependencies?endTs={end // 1000}&lookback=3600000")
    corpus = os.environ.get("KOFSTORE_CORPUS", os.path.join(HERE, "../../../shared/corpus"))
    path = os.path.join(corpus, "kof-jaeger.jsonl")
    if not os.path.exists(path):
        print("kof-jaeger.jsonl is not here: skipped")
        return
    for line in open(path, encoding="utf-8"):
        q = json.loads(line)
        s.json("main", q["path"], **q.get("params", {}))


def real_clients(s):
    if not shutil.which("npm") or not shutil.which("node"):
        print("npm is not here: exporters skipped")
        return
    home = os.environ.get("KOFSTORE_NPM") or tempfile.mkdtemp()
    names = ["api", "sdk-trace-base", "resources", "exporter-trace-otlp-grpc", "exporter-trace-otlp-http", "exporter-trace-otlp-proto", "exporter-zipkin", "exporter-jaeger"]
    if not os.path.isdir(os.path.join(home, "node_modules/@opentelemetry/exporter-zipkin")):
        r = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", home] + ["@opentelemetry/" + n for n in names],
                           capture_output=True, text=True, timeout=300, check=False)
        if r.returncode:
            print("npm cannot install the exporters: skipped;", r.stderr[-200:])
            return
    p = {k: s.ports[k] for k in ("otlp", "grpc", "zipkin", "thrift")}
    r = subprocess.run(["node", os.path.join(HERE, "trace_clients.js"), json.dumps(p)], capture_output=True, text=True, timeout=120, check=False,
                       env={**os.environ, "NODE_PATH": os.path.join(home, "node_modules")})
    assert r.returncode == 0, r.stderr
    out = json.loads(r.stdout.splitlines()[-1])
    assert not out["failed"], out
    for name, tid in out["ids"].items():
        t = s.json("jaeger", "/api/traces/" + tid)["data"][0]
        by_name = {x["operationName"].lower(): x for x in t["spans"]}
        assert set(by_name) == {"get /cart", "select"}, (name, list(by_name))
        root, child = by_name["get /cart"], by_name["select"]
        assert child["references"][0]["spanID"] == root["spanID"], name
        assert tags(root)["span.kind"] == ("string", "server") and tags(child)["error"] == ("bool", True), (name, tags(child))
        assert str(tags(root)["http.status_code"][1]) == "503", name
        assert t["processes"][root["processID"]]["serviceName"] == "js-" + name
        assert child["logs"][0]["fields"][0]["value"] == "cache miss", (name, child["logs"])
    print("exporters:", ", ".join(sorted(out["ids"])))
    if os.environ.get("KOFSTORE_NPM") is None:
        shutil.rmtree(home, ignore_errors=True)


def main():
    s = Server()
    try:
        both_profiles(s)
        otlp_answers(s)
        access_filters(s)
        tenants(s)
        other_protocols(s)
        grafana(s)
        real_clients(s)
        restarts(s)
    finally:
        s.close()
    bounds()
    print("traces: all as expected")


if __name__ == "__main__":
    main()
