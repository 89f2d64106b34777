#!/usr/bin/env python3
"""Jaeger's api/v3 over HTTP: shapes, parameters in both spellings, errors, adjusters, summaries; under both prefixes."""
import base64
import json
import os
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, request, span  # noqa: E402

SEC = 10 ** 9
TID = bytes.fromhex("1163d809514711c4503f981a9634c021")


def rfc(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // SEC)) + f".{ns % SEC:09d}Z"


def fill(s, now):
    a = request({"service.name": "shop", "tenant": "a"}, [
        span(TID, b"\1" * 8, "GET /", now - SEC, now, attrs={"z": 1, "a": "x<y", "f": 1.5, "b": True, "bin": b"\0\1", "big": 2 ** 60, "l": [1, "x"], "m": {"k": 2}},
             status=2, message="boom", events=[(now - SEC // 2, "exception", {"exception.type": "E"})], links=[(b"\5" * 16, b"\6" * 8, {"why": "w"})], flags=257),
        span(TID, b"\2" * 8, "db", now - 9 * SEC // 10, now - SEC // 10, parent=b"\1" * 8, kind=3)])
    b = request({"service.name": "pg", "tenant": "b"}, [
        span(TID, b"\3" * 8, "query", now - 8 * SEC // 10, now - 2 * SEC // 10, parent=b"\2" * 8, kind=0),
        span(TID, b"\4" * 8, "orphan", now - 8 * SEC // 10, now - 2 * SEC // 10, parent=b"\x99" * 8)])
    assert s.post(a + b)[0] == 200


def check(s, port, base, now):
    def get(path, **args):
        code, body, head = s.get(port, base + path + ("?" + urllib.parse.urlencode(args) if args else ""))
        assert head["Content-Type"].startswith("application/json"), head
        return code, json.loads(body)

    def fails(want, text, path, **args):
        code, doc = get(path, **args)
        assert code == want and list(doc) == ["error"] and doc["error"]["httpCode"] == want and text in doc["error"]["message"], (path, args, code, doc)

    hour = {"query.startTimeMin": rfc(now - 3600 * SEC), "query.startTimeMax": rfc(now + SEC)}
    assert get("/services") == (200, {"services": ["pg", "shop"]})
    assert get("/operations", service="shop") == (200, {"operations": [{"name": "GET /", "spanKind": "server"}, {"name": "db", "spanKind": "client"}]})
    assert get("/operations", service="shop", spanKind="client")[1]["operations"] == [{"name": "db", "spanKind": "client"}]
    assert get("/operations", service="shop", span_kind="server")[1]["operations"] == [{"name": "GET /", "spanKind": "server"}]
    # What has no kind is called internal here.
    assert {"name": "query", "spanKind": "internal"} in get("/operations", service="pg")[1]["operations"]
    # One trace: OTLP's JSON in an envelope.
    code, doc = get("/traces/" + TID.hex())
    assert code == 200 and list(doc) == ["result"] and list(doc["result"]) == ["resourceSpans"]
    rs = doc["result"]["resourceSpans"]
    assert [r["resource"]["attributes"][0]["value"]["stringValue"] for r in rs] == ["shop", "pg"], rs
    one = rs[0]["scopeSpans"][0]["spans"][0]
    assert one["traceId"] == TID.hex() and one["spanId"] == "01" * 8 and "parentSpanId" not in one and one["kind"] == 2 and one["flags"] == 257
    assert one["startTimeUnixNano"] == str(now - SEC) and one["endTimeUnixNano"] == str(now) and one["status"] == {"message": "boom", "code": 2}, one
    want = [{"key": "a", "value": {"stringValue": "x<y"}}, {"key": "b", "value": {"boolValue": True}}, {"key": "big", "value": {"intValue": str(2 ** 60)}},
            {"key": "bin", "value": {"bytesValue": base64.b64encode(b"\0\1").decode()}}, {"key": "f", "value": {"doubleValue": 1.5}},
            {"key": "l", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}}},
            {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "2"}}]}}}, {"key": "z", "value": {"intValue": "1"}}]
    assert one["attributes"] == want, one["attributes"]
    assert one["events"] == [{"timeUnixNano": str(now - SEC // 2), "name": "exception", "attributes": [{"key": "exception.type", "value": {"stringValue": "E"}}]}]
    assert one["links"][0]["traceId"] == "05" * 16 and one["links"][0]["attributes"][0]["key"] == "why", one["links"]
    assert rs[0]["scopeSpans"][0]["scope"] == {"name": "lib", "version": "1.0"}
    orphan = rs[1]["scopeSpans"][0]["spans"][1]
    assert orphan["attributes"][-1]["key"] == "@jaeger@warnings" and "invalid parent" in orphan["attributes"][-1]["value"]["arrayValue"]["values"][0]["stringValue"]
    for raw in ("rawTraces", "raw_traces"):
        spans = get("/traces/" + TID.hex(), **{raw: "true"})[1]["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert [a["key"] for a in spans[0]["attributes"]] == ["z", "a", "f", "b", "bin", "big", "l", "m"]
    # Times are no condition for one trace.
    assert get("/traces/" + TID.hex(), startTime=rfc(1), endTime=rfc(2))[0] == 200
    fails(404, "No traces found", "/traces/" + "42" * 16)
    fails(400, "malformed parameter trace_id", "/traces/xyz")
    fails(400, "malformed parameter trace_id", "/traces/" + "1" * 33)
    fails(400, "rawTraces", "/traces/" + TID.hex(), rawTraces="perhaps")
    # Searches, in both spellings.
    snake = {"query.start_time_min": rfc(now - 3600 * SEC), "query.start_time_max": rfc(now + SEC)}
    for q, n in (({**hour, "query.serviceName": "shop"}, 2), ({**snake, "query.service_name": "pg", "query.operation_name": "query"}, 2), ({**hour}, 2),
                 ({**hour, "query.serviceName": "shop", "query.attributes": '{"z":"1","error":"true"}'}, 2),
                 ({**hour, "query.serviceName": "shop", "query.durationMin": "900ms", "query.durationMax": "2s"}, 2),
                 ({**snake, "query.service_name": "shop", "query.duration_min": "900ms", "query.num_traces": "7"}, 2),
                 ({**hour, "query.searchDepth": "1", "query.rawTraces": "1"}, 2)):
        code, doc = get("/traces", **q)
        assert code == 200 and len(doc["result"]["resourceSpans"]) == n, (q, code, doc)
    # The end is exclusive, the beginning inclusive; an offset may have lost its plus.
    edge = {"query.serviceName": "shop", "query.operationName": "GET /"}
    assert get("/traces", **edge, **{"query.startTimeMin": rfc(now - SEC), "query.startTimeMax": rfc(now - SEC + 1)})[0] == 200
    fails(404, "No traces found", "/traces", **edge, **{"query.startTimeMin": rfc(now - 2 * SEC), "query.startTimeMax": rfc(now - SEC)})
    code, body, _ = s.get(port, f"{base}/traces?query.startTimeMin={rfc(now - SEC)[:-1]}+00:00&query.startTimeMax={rfc(now + SEC)}")
    assert code == 200, body
    for q in ({"query.serviceName": "nobody"}, {"query.attributes": '{"z":"2"}', "query.serviceName": "shop"}, {"query.durationMin": "1h"}):
        fails(404, "No traces found", "/traces", **hour, **q)
    for text, q in (("startTimeMin", {}), ("startTimeMax", {"query.startTimeMin": rfc(now)}), ("before", {"query.startTimeMin": rfc(now), "query.startTimeMax": rfc(now)}),
                    ("startTimeMin", {**hour, "query.startTimeMin": "yesterday"}), ("searchDepth", {**hour, "query.searchDepth": "x"}),
                    ("durationMin", {**hour, "query.durationMin": "1x"}), ("durationMax", {**hour, "query.duration_max": "x"}), ("tags", {**hour, "query.attributes": "{x"}),
                    ("filter", {**hour, "query.filter": '{"op":"and"}'}), ("rawTraces", {**hour, "query.rawTraces": "x"})):
        fails(400, text, "/traces", **q)
    # Summaries.
    assert get("/trace-summaries", **hour, **{"query.serviceName": "nobody"}) == (200, {})
    got = get("/trace-summaries", **hour, **{"query.serviceName": "pg"})
    assert got == (200, {"summaries": [{
        "traceId": TID.hex(), "rootServiceName": "shop", "rootOperationName": "GET /", "minStartTimeUnixNano": str(now - SEC), "maxEndTimeUnixNano": str(now),
        "spanCount": 4, "errorSpanCount": 1, "orphanSpanCount": 1,
        "services": [{"name": "pg", "spanCount": 2}, {"name": "shop", "spanCount": 2, "errorSpanCount": 1}]}]}), got
    # What a proxy adds.
    f = {"extra_filters": '"resource_attr:tenant":="b"'}
    assert get("/services", **f) == (200, {"services": ["pg"]})
    rs = get("/traces/" + TID.hex(), **f)[1]["result"]["resourceSpans"]
    assert [x["name"] for x in rs[0]["scopeSpans"][0]["spans"]] == ["query", "orphan"] and len(rs) == 1
    assert get("/trace-summaries", **hour, **f)[1]["summaries"][0]["spanCount"] == 2


def main():
    s = Server()
    try:
        now = time.time_ns()
        fill(s, now)
        check(s, "jaeger", "/api/v3", now)
        check(s, "main", "/select/jaeger/api/v3", now)
    finally:
        s.close()
    print("api/v3: all as expected")


if __name__ == "__main__":
    main()
