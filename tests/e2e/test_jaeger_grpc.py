#!/usr/bin/env python3
"""Jaeger's query service over gRPC, asked by a real gRPC client: both versions, health, error codes, filters, tenants."""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, request, span  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SEC = 10 ** 9
TID = bytes.fromhex("1163d809514711c4503f981a9634c021")
V2, V3 = "jaeger.api_v2.QueryService", "jaeger.api_v3.QueryService"
OK, INVALID, NOT_FOUND, UNIMPLEMENTED, UNAUTHENTICATED = 0, 3, 5, 12, 16


def npm_home():
    """Where the client's packages are; None: they cannot be had."""
    if not shutil.which("npm") or not shutil.which("node"):
        print("npm is not here: skipped")
        return None
    home = os.environ.get("KOFSTORE_NPM") or tempfile.mkdtemp()
    if not os.path.isdir(os.path.join(home, "node_modules/@grpc/proto-loader")):
        r = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", home, "@grpc/grpc-js", "@grpc/proto-loader"],
                           capture_output=True, text=True, timeout=300, check=False)
        if r.returncode:
            print("npm cannot install @grpc/grpc-js: skipped;", r.stderr[-200:])
            return None
    return home


class Client:
    def __init__(self, home, port):
        self.proc = subprocess.Popen(["node", os.path.join(HERE, "grpc_client.js"), f"127.0.0.1:{port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True, env={**os.environ, "NODE_PATH": os.path.join(home, "node_modules")})

    def many(self, calls):
        self.proc.stdin.write(json.dumps(calls) + "\n")
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        assert line, "the client has ended"
        return json.loads(line)

    def close(self):
        self.proc.stdin.close()
        self.proc.wait()

    def __call__(self, service, method, body=None, **more):
        return self.many([{"service": service, "method": method, "request": body or {}, **more}])[0]


def b64(b):
    return base64.b64encode(b).decode()


def stamp(ns):
    return {"seconds": str(ns // SEC), "nanos": ns % SEC}


def spans_of(answer):
    assert answer["code"] == OK, answer
    return [s for m in answer["messages"] for s in m["spans"]]


def tags(kvs):
    fields = ["v_str", "v_bool", "v_int64", "v_float64", "v_binary"]
    return {t["key"]: t[fields[t["v_type"]]] for t in kvs}


def fill(s, now):
    a = request({"service.name": "shop", "tenant": "tenant-a", "host.name": "h1"}, [
        span(TID, b"\1" * 8, "GET /", now - SEC, now, attrs={"http.status": 500, "b": True, "f": 1.5, "bin": b"\0\1", "l": [1, "x"]}, status=2, message="boom",
             events=[(now - SEC // 2, "exception", {"exception.type": "E"})]),
        span(TID, b"\2" * 8, "db", now - 9 * SEC // 10, now - SEC // 10, parent=b"\1" * 8, kind=3)])
    b = request({"service.name": "pg", "tenant": "tenant-b", "host.name": "h2"}, [
        span(TID, b"\3" * 8, "query", now - 8 * SEC // 10, now - 2 * SEC // 10, parent=b"\2" * 8)])
    big = request({"service.name": "wide"}, [span(b"\7" * 16, bytes([i + 1]) * 8, f"op{i % 3}", now, now + i, kind=1 + i % 3) for i in range(57)])
    assert s.post(a + b + big)[0] == 200


def version_2(c, now):
    t = spans_of(c(V2, "GetTrace", {"trace_id": b64(TID)}))
    assert [x["operation_name"] for x in t] == ["GET /", "db", "query"], t
    one = t[0]
    assert one["trace_id"] == b64(TID) and one["span_id"] == b64(b"\1" * 8)
    assert one["start_time"] == stamp(now - SEC) and one["duration"] == {"seconds": "1", "nanos": 0}, one
    want = {"otel.scope.name": "lib", "otel.scope.version": "1.0", "http.status": "500", "b": True, "f": 1.5, "bin": b64(b"\0\1"), "l": '[1,"x"]',
            "span.kind": "server", "otel.status_code": "ERROR", "error": True, "otel.status_description": "boom"}
    assert tags(one["tags"]) == want, tags(one["tags"])
    assert one["logs"][0]["timestamp"] == stamp(now - SEC // 2) and tags(one["logs"][0]["fields"])["event"] == "exception"
    assert one["process"]["service_name"] == "shop" and tags(one["process"]["tags"]) == {"host.name": "h1", "tenant": "tenant-a"}
    assert t[1]["references"] == [{"trace_id": b64(TID), "span_id": b64(b"\1" * 8), "ref_type": 0}]
    chunks = c(V2, "GetTrace", {"trace_id": b64(b"\7" * 16)})["messages"]
    assert [len(m["spans"]) for m in chunks] == [10, 10, 10, 10, 10, 7]
    hour = {"start_time_min": stamp(now - 3600 * SEC), "start_time_max": stamp(now + SEC)}
    for q, n in (({"service_name": "shop"}, 3), ({"service_name": "shop", "operation_name": "db"}, 3), ({"service_name": "shop", "operation_name": "x"}, 0),
                 ({"service_name": "shop", "tags": {"http.status": "500"}}, 3), ({"service_name": "shop", "tags": {"error": "true", "f": "2"}}, 0),
                 ({"service_name": "shop", "duration_min": {"seconds": "1"}}, 3), ({"service_name": "shop", "duration_min": {"seconds": "2"}}, 0),
                 ({"service_name": "pg", "duration_max": {"nanos": 600000000}}, 3), ({"service_name": "wide", "search_depth": 1}, 57)):
        got = spans_of(c(V2, "FindTraces", {"query": {**q, **hour}}))
        assert len(got) == n, (q, len(got))
    late = {"service_name": "shop", "start_time_min": stamp(now + 60 * SEC), "start_time_max": stamp(now + 90 * SEC)}
    assert spans_of(c(V2, "FindTraces", {"query": late})) == []
    assert c(V2, "GetServices")["messages"][0]["services"] == ["pg", "shop", "wide"]
    ops = c(V2, "GetOperations", {"service": "shop"})["messages"][0]
    assert ops == {"operation_names": ["GET /", "db"], "operations": [{"name": "GET /", "span_kind": "server"}, {"name": "db", "span_kind": "client"}]}, ops
    ops = c(V2, "GetOperations", {"service": "shop", "span_kind": "client"})["messages"][0]
    assert ops["operation_names"] == ["db"], ops
    deps = c(V2, "GetDependencies", {"start_time": stamp(now - 3600 * SEC), "end_time": stamp(now + 60 * SEC)})
    assert deps["messages"][0]["dependencies"] == [{"parent": "shop", "child": "pg", "call_count": "1", "source": ""}], deps


def version_3(c, now):
    hour = {"start_time_min": stamp(now - 3600 * SEC), "start_time_max": stamp(now + SEC)}
    t = c(V3, "GetTrace", {"trace_id": TID.hex()})
    assert t["code"] == OK and len(t["messages"]) == 1, t
    rs = t["messages"][0]["resource_spans"]
    assert [len(x["scope_spans"][0]["spans"]) for x in rs] == [2, 1], rs
    one = rs[0]["scope_spans"][0]["spans"][0]
    assert one["trace_id"] == b64(TID) and one["start_time_unix_nano"] == str(now - SEC) and one["status"] == {"message": "boom", "code": 2}
    assert [p["key"] for p in one["attributes"]] == ["b", "bin", "f", "http.status", "l"], one["attributes"]
    assert rs[0]["scope_spans"][0]["scope"] == {"name": "lib", "version": "1.0"}
    raw = c(V3, "GetTrace", {"trace_id": TID.hex(), "raw_traces": True})["messages"][0]["resource_spans"][0]["scope_spans"][0]["spans"][0]
    assert [p["key"] for p in raw["attributes"]] == ["http.status", "b", "f", "bin", "l"], raw["attributes"]
    got = c(V3, "FindTraces", {"query": {"service_name": "shop", "attributes": {"http.status": "500"}, **hour}})
    assert len(got["messages"]) == 1 and len(got["messages"][0]["resource_spans"]) == 2
    assert len(c(V3, "FindTraces", {"query": hour})["messages"]) == 2, "a search without a service"
    none = c(V3, "FindTraces", {"query": {"service_name": "nobody", **hour}})
    assert none["code"] == OK and none["messages"] == [], none
    sums = c(V3, "FindTraceSummaries", {"query": {"service_name": "pg", **hour}})["messages"]
    assert len(sums) == 1 and sums[0]["summaries"][0] == {
        "trace_id": TID.hex(), "root_service_name": "shop", "root_operation_name": "GET /", "min_start_time_unix_nano": str(now - SEC),
        "max_end_time_unix_nano": str(now), "span_count": 3, "error_span_count": 1, "orphan_span_count": 0,
        "services": [{"name": "pg", "span_count": 1, "error_span_count": 0}, {"name": "shop", "span_count": 2, "error_span_count": 1}]}, sums
    assert c(V3, "GetServices")["messages"][0]["services"] == ["pg", "shop", "wide"]
    ops = c(V3, "GetOperations", {"service": "wide"})["messages"][0]["operations"]
    assert {"name": "op0", "span_kind": "internal"} in ops and len(ops) == 3, ops
    deps = c(V3, "GetDependencies", {"start_time": stamp(now - 3600 * SEC), "end_time": stamp(now + 60 * SEC)})
    assert deps["messages"][0]["dependencies"] == [{"parent": "shop", "child": "pg", "call_count": "1"}], deps


def codes(c, now):
    hour = {"start_time_min": stamp(now - 3600 * SEC), "start_time_max": stamp(now + SEC)}
    wrong = [(V2, "GetTrace", {"trace_id": b64(b"\x42" * 16)}, NOT_FOUND, "trace not found"),
             (V2, "GetTrace", {"trace_id": b64(b"\0" * 16)}, INVALID, "uninitialized"), (V2, "GetTrace", {}, INVALID, "uninitialized"),
             (V2, "GetTrace", {"trace_id": b64(b"\1" * 5)}, INVALID, "16 or 8 bytes"), (V2, "FindTraces", {}, INVALID, "missing query"),
             (V2, "ArchiveTrace", {"trace_id": b64(TID)}, UNIMPLEMENTED, "archive"), (V2, "NoSuchMethod", {}, UNIMPLEMENTED, "unknown method"),
             (V2, "GetDependencies", {}, INVALID, "required"), (V3, "GetTrace", {"trace_id": "xyz"}, INVALID, "trace ID"),
             (V3, "GetTrace", {"trace_id": "42" * 16}, NOT_FOUND, "trace not found"), (V3, "FindTraces", {"query": {"service_name": "a"}}, INVALID, "required"),
             (V3, "FindTraces", {"query": {"filter": {"op": "and"}, **hour}}, INVALID, "filter"),
             (V3, "GetDependencies", {"start_time": stamp(now), "end_time": stamp(now)}, INVALID, "after"),
             ("grpc.health.v1.Health", "Check", {"service": "nobody"}, NOT_FOUND, "unknown service")]
    got = c.many([{"service": s, "method": m, "request": r} for s, m, r, _, _ in wrong])
    for w, g in zip(wrong, got):
        assert g["code"] == w[3] and w[4] in g["details"], (w, g)
    for service in ("", V2, V3):
        assert c("grpc.health.v1.Health", "Check", {"service": service})["messages"] == [{"status": 1}]


def access(s, c, now):
    f = {"extra_filters": '"resource_attr:tenant":="tenant-b"'}
    assert c(V2, "GetServices", metadata=f)["messages"][0]["services"] == ["pg"]
    assert [x["operation_name"] for x in spans_of(c(V2, "GetTrace", {"trace_id": b64(TID)}, metadata=f))] == ["query"]
    assert c(V2, "GetTrace", {"trace_id": b64(b"\7" * 16)}, metadata=f)["code"] == NOT_FOUND
    assert c(V2, "GetServices", metadata={"extra_filters": "tenant ~ x"})["code"] == INVALID
    mine = {"accountid": "7", "projectid": "3"}
    assert c(V2, "GetServices", metadata=mine)["messages"][0]["services"] == []
    assert s.post(request({"service.name": "seven"}, [span(b"\x66" * 16, b"\1" * 8, "x", now, now)]), AccountID="7", ProjectID="3")[0] == 200
    assert c(V2, "GetServices", metadata=mine)["messages"][0]["services"] == ["seven"]
    assert c(V2, "GetServices", metadata={"accountid": "x"})["code"] == INVALID


def password(home):
    s = Server("-httpAuth.username=u", "-httpAuth.password=p")
    try:
        c = Client(home, s.ports["jaeger_grpc"])
        assert c(V2, "GetServices")["code"] == UNAUTHENTICATED
        assert c(V2, "GetServices", metadata={"authorization": "Basic " + b64(b"u:p")})["code"] == OK
        c.close()
    finally:
        s.close()


def main():
    home = npm_home()
    if not home:
        return
    s = Server()
    try:
        now = time.time_ns()
        c = Client(home, s.ports["jaeger_grpc"])
        fill(s, now)
        version_2(c, now)
        version_3(c, now)
        codes(c, now)
        access(s, c, now)
        c.close()
    finally:
        s.close()
    password(home)
    if os.environ.get("KOFSTORE_NPM") is None:
        shutil.rmtree(home, ignore_errors=True)
    print("jaeger over grpc: all as expected")


if __name__ == "__main__":
    main()
