#!/usr/bin/env python3
"""Log ingestion over HTTP: every protocol in, rows back by LogsQL; parameters, stores, answers and the traps of the peer."""
import gzip
import json
import struct
import sys

from logs_lib import *


def jsonline(s, body, status=200, headers=None, path="/insert/jsonline", **args):
    got, head, answer = s.http(path, body if isinstance(body, bytes) else body.encode(), headers, args or None)
    check(f"status of {path} {args}", got, status)
    return head, answer


def test_jsonline():
    with logs_server("-defaultMsgValue=none") as s:
        _, answer = jsonline(s, f'{{"_time":"{NOW}","_msg":"hello","app":"a","n":{{"x":1.50}}}}\n')
        check("answer when all is well", answer, b"")
        check("row", bare(rows(s)), [{"_time": NOW, "_stream": "{}", "_msg": "hello", "app": "a", "n.x": "1.50"}])
        # curl's default content type must not swallow the body
        jsonline(s, f'{{"_time":"{NOW}","_msg":"form"}}', headers={"Content-Type": "application/x-www-form-urlencoded"})
        check("form", len(rows(s, "form")), 1)
        _, answer = jsonline(s, f'{{"_time":"{NOW}","_msg":"good"}}\nbad\n{{"_time":"never"}}\n')
        check("partial", json.loads(answer)["skipped"], 2)
        check_true("first error", "line 2" in json.loads(answer)["firstError"], answer)
        check("good line is there", len(rows(s, "good")), 1)
        _, answer = jsonline(s, "bad\nworse", 400)
        check_true("all bad", b"line 1" in answer, answer)
        jsonline(s, "{}", 415, {"Content-Encoding": "br"})
        jsonline(s, "no gzip", 400, {"Content-Encoding": "gzip"})
        jsonline(s, gzip.compress(f'{{"_time":"{NOW}","_msg":"packed"}}'.encode()), headers={"Content-Encoding": "gzip"})
        check("gzip", len(rows(s, "packed")), 1)
        check("get", s.http("/insert/jsonline")[0], 405)
        check("ready", s.http("/insert/ready")[2], b'{"status":"ok"}')
        check("unknown path", s.http("/insert/nothing", b"")[0], 400)


def test_params():
    with logs_server("-defaultMsgValue=none") as s:
        line = json.dumps({"ts": str(NOW_S), "message": "\x1b[32mgreen\x1b[0m", "app": "a", "secret": "x", "tenant": "red",
                           "raw": {"k": [1, 2]}})
        args = {"_time_field": "ts", "_msg_field": "text,message", "_stream_fields": "app,tenant", "ignore_fields": "sec*",
                "decolorize_fields": "_msg", "extra_fields": "tenant=blue", "preserve_json_keys": "raw"}
        want = [{"_time": NOW, "_stream": '{app="a",tenant="blue"}', "_msg": "green", "app": "a", "tenant": "blue",
                 "raw": '{"k":[1,2]}'}]
        jsonline(s, line, **args)
        check("by arguments", bare(rows(s)), want)
    with logs_server() as s:
        names = {"_time_field": "VL-Time-Field", "_msg_field": "VL-Msg-Field", "_stream_fields": "VL-Stream-Fields",
                 "ignore_fields": "VL-Ignore-Fields", "decolorize_fields": "VL-Decolorize-Fields",
                 "extra_fields": "VL-Extra-Fields", "preserve_json_keys": "VL-Preserve-JSON-Keys"}
        jsonline(s, line, headers={names[k]: v for k, v in args.items()})
        check("by headers", bare(rows(s)), want)
        jsonline(s, line, headers={"VL-Debug": "1"})
        check("debug stores nothing", len(rows(s)), 1)
        check("debug is counted", metric(s, 'vl_rows_dropped_total{reason="debug"}'), 1)
        jsonline(s, line, 400, extra_fields="novalue")
        jsonline(s, line, 400, debug="maybe")
        jsonline(s, line, headers={"AccountID": "7", "ProjectID": "3"})
        check("tenant", len(rows(s, headers={"AccountID": "7", "ProjectID": "3"})), 1)
        check("other tenant", len(rows(s)), 1)
        jsonline(s, line, 400, headers={"AccountID": "x"})


def test_times_and_limits():
    with logs_server("-logs.retentionPeriod=7d", "-insert.maxFieldsPerLine=5") as s:
        _, answer = jsonline(s, '{"_time":"2020-01-01T00:00:00Z","_msg":"old"}\n{"_time":"2099-01-01T00:00:00Z","_msg":"new"}')
        check("dropped by time", json.loads(answer)["dropped"], 2)
        for reason in ("too_small_timestamp", "too_big_timestamp"):
            check(reason, metric(s, f'vl_rows_dropped_total{{reason="{reason}"}}'), 1)
        jsonline(s, json.dumps({"_msg": "wide", **{f"f{i}": "x" for i in range(6)}}))
        check("too many fields", metric(s, 'vl_rows_dropped_total{reason="too_many_fields"}'), 1)
        jsonline(s, json.dumps({"_msg": "x" * 300000}), 400)
        check("long line", metric(s, "vl_too_long_lines_skipped_total"), 1)
        check("nothing stored", rows(s), [])
        jsonline(s, json.dumps({"_time": NOW, "a": {"k" * 120: {"x" * 20: 1}}, "_msg": "m"}))
        check("long names", bare(rows(s)), [{"_time": NOW, "_stream": "{}", "_msg": "m", "a." + "k" * 120: '{"%s":1}' % ("x" * 20)}])


def test_stores():
    port = free_port()
    with logs_server("-logs.store=audit:1y", f"-logs.listenAddr=audit/insert=127.0.0.1:{port}") as s:
        audit = Server(port)
        line = f'{{"_time":"{NOW}","_msg":"m"}}'
        jsonline(s, line, path="/store/audit/insert/jsonline")
        jsonline(audit, line)
        check("audit rows", len(rows(s, prefix="/store/audit")), 2)
        check("logs rows", len(rows(s)), 0)
        jsonline(s, line, 404, path="/store/nope/insert/jsonline")
        # a listener for writes answers nothing else
        for path in ("/select/logsql/query?query=*", "/api/v1/query?query=1", "/store/logs/insert/jsonline", "/api/v1/write"):
            check(f"listener: {path}", audit.http(path)[0], 400)
        check("listener: health", audit.http("/health")[0], 200)


def test_elasticsearch():
    with logs_server() as s:
        status, head, body = s.http("/insert/elasticsearch/")
        check("version", (status, head["X-Elastic-Product"], json.loads(body)["version"]["number"]), (200, "Elasticsearch", "8.9.0"))
        check("ping", s.http("/insert/elasticsearch", method="HEAD")[0], 200)
        check("license", json.loads(s.http("/insert/elasticsearch/_license")[2])["license"]["status"], "active")
        for stub in ("_ilm/policy/x", "_index_template/y", "_ingest/pipeline/z", "_nodes/http", "logstash", "_logstash/a"):
            check(stub, s.http("/insert/elasticsearch/" + stub)[2], b"{}")
        check("other paths", s.http("/insert/elasticsearch/_cluster/health")[0], 400)
        body = (f'{{"create":{{"_index":"x"}}}}\n{{"@timestamp":"{NOW}","message":"one","host":{{"name":"h"}}}}\n'
                f'{{"index":{{}}}}\n{{bad}}\n{{"index":{{}}}}\n{{"@timestamp":"{NOW}","message":"two"}}\n')
        args = {"_time_field": "@timestamp", "_msg_field": "message", "_stream_fields": "host.name"}
        status, head, answer = s.http("/insert/elasticsearch/_bulk", body.encode(), {"Content-Type": "application/x-ndjson"}, args)
        answer = json.loads(answer)
        check("bulk", (status, answer["errors"], [i["create"]["status"] for i in answer["items"]]), (200, True, [201, 400, 201]))
        check("rows", bare(rows(s)), [{"_time": NOW, "_stream": '{host.name="h"}', "_msg": "one", "host.name": "h"},
                                      {"_time": NOW, "_stream": "{}", "_msg": "two"}])
        status, _, answer = s.http("/insert/elasticsearch/_bulk", b'{"delete":{}}\n')
        check_true("unknown action", status == 400 and b"cannot decode log message #0" in answer, answer)


def snappy(data):
    out = varint(len(data))
    for at in range(0, len(data), 60):
        piece = data[at:at + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


def test_loki():
    with logs_server() as s:
        check("ready", s.http("/insert/loki/ready")[2], b"ready")
        body = {"streams": [{"stream": {"job": "j"}, "values": [[str(NOW_NS), "plain"],
                                                                 [str(NOW_NS + 1), '{"_msg":"json","k":"v"}', {"meta": "data"}]]}]}
        status, _, answer = s.http("/insert/loki/api/v1/push", json.dumps(body).encode(),
                                   {"Content-Type": "application/json; charset=utf-8"})
        check("json", (status, answer), (204, b""))
        entry = pb_bytes(1, pb_varint(1, NOW_S) + pb_varint(2, 2)) + pb_bytes(2, "proto") + pb_bytes(3, pb_bytes(1, "meta") + pb_bytes(2, "x"))
        push = pb_bytes(1, pb_bytes(1, '{job="p", ns="x\\"y"}') + pb_bytes(2, entry))
        status, _, _ = s.http("/insert/loki/api/v1/push", snappy(push), {"X-Scope-OrgID": "5:6"})
        check("protobuf", status, 204)
        t = NOW[:-1]
        check("rows", bare(rows(s)), [
            {"_time": NOW, "_stream": '{job="j"}', "_msg": "plain", "job": "j"},
            {"_time": t + ".000000001Z", "_stream": '{job="j"}', "_msg": "json", "job": "j", "k": "v", "meta": "data"}])
        check("rows of the org", bare(rows(s, headers={"AccountID": "5", "ProjectID": "6"})), [
            {"_time": t + ".000000002Z", "_stream": '{job="p",ns="x\\"y"}', "_msg": "proto", "job": "p", "ns": 'x"y', "meta": "x"}])
        body["streams"][0]["values"] = [["soon", "bad"], [str(NOW_NS), "good"]]
        status, _, answer = s.http("/insert/loki/api/v1/push", json.dumps(body).encode(), {"Content-Type": "application/json"})
        check_true("bad entry", status == 400 and b"1 were stored" in answer, answer)
        check("the other is there", len(rows(s, "good")), 1)
        check("malformed", s.http("/insert/loki/api/v1/push", b"{", {"Content-Type": "application/json"})[0], 400)


def test_otlp():
    def kv(k, v):
        return pb_bytes(1, k) + pb_bytes(2, v)

    def text(v):
        return pb_bytes(1, v)

    record = (pb_fixed64(1, NOW_NS) + pb_varint(2, 17) + pb_bytes(3, "ERROR") + pb_bytes(5, text("boom")) +
              pb_bytes(6, kv("http.method", text("GET"))) + pb_bytes(9, bytes(range(16))) + pb_bytes(10, bytes(range(8))))
    request = pb_bytes(1, pb_bytes(1, pb_bytes(1, kv("service.name", text("pay")))) +
                       pb_bytes(2, pb_bytes(1, pb_bytes(1, "lib") + pb_bytes(2, "1.2")) + pb_bytes(2, record)))
    want = {"_time": NOW, "_stream": '{service.name="pay"}', "_msg": "boom", "service.name": "pay", "http.method": "GET",
            "scope.name": "lib", "scope.version": "1.2", "severity_number": "17", "severity_text": "ERROR", "severity": "ERROR",
            "trace_id": "000102030405060708090a0b0c0d0e0f", "span_id": "0001020304050607"}
    as_json = {"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "pay"}}]},
                                 "scopeLogs": [{"scope": {"name": "lib", "version": "1.2"}, "logRecords": [
                                     {"timeUnixNano": str(NOW_NS), "severityNumber": 17, "severityText": "ERROR",
                                      "body": {"stringValue": "boom"},
                                      "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}],
                                      "traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "0001020304050607"}]}]}]}
    with logs_server() as s:
        proto = {"Content-Type": "application/x-protobuf"}
        check("protobuf", s.http("/insert/opentelemetry/v1/logs", request, proto)[::2], (200, b""))
        check("gzip on the plain path", s.http("/v1/logs", gzip.compress(request), {**proto, "Content-Encoding": "gzip"})[0], 200)
        status, head, body = s.http("/v1/logs", json.dumps(as_json).encode(), {"Content-Type": "application/json"})
        check("json", (status, head["Content-Type"], body), (200, "application/json", b'{"partialSuccess":{}}'))
        check("rows", bare(rows(s)), [want] * 3)
        check("malformed", s.http("/insert/opentelemetry/v1/logs", request[:-3], proto)[0], 400)
        extra = {"extra_fields": "tenant=blue"}
        check("extra fields", s.http("/insert/opentelemetry/v1/logs", request, proto, extra)[0], 200)
        check("tenant", bare(rows(s, "tenant:=blue")), [{**want, "tenant": "blue"}])
        old = request.replace(struct.pack("<Q", NOW_NS), struct.pack("<Q", 10**18))
        status, _, body = s.http("/insert/opentelemetry/v1/logs", old, proto)
        check("partial success", (status, pb_walk(pb_walk(body)[0][2])[0][2]), (200, 1))


def test_others():
    with logs_server() as s:
        body = [{"ddsource": "nginx", "ddtags": "env:prod,lonely", "message": "dd", "service": "pay", "timestamp": NOW_S * 1000}]
        status, _, answer = s.http("/api/v2/logs", json.dumps(body).encode(), {"Content-Type": "application/json"})
        check("datadog", (status, answer), (202, b"{}"))
        check("validate", s.http("/insert/datadog/api/v1/validate")[2], b"{}")
        check("datadog row", bare(rows(s, "dd")), [{"_time": NOW, "_stream": "{}", "_msg": "dd", "ddsource": "nginx", "env": "prod",
                                                    "lonely": "no_label_value", "service": "pay"}])
        events = json.dumps({"time": NOW_S, "host": "h", "event": "one"}) + json.dumps({"time": NOW_S, "event": {"log": "two", "a": 1}})
        status, _, answer = s.http("/services/collector/event", events.encode(), {"Authorization": "Splunk token"})
        check("splunk", (status, answer), (200, b'{"text":"Success","code":0}'))
        check("splunk rows", bare(rows(s, "one or two")), [
            {"_time": NOW, "_stream": '{host="h"}', "_msg": "one", "host": "h"}, {"_time": NOW, "_stream": "{}", "_msg": "two", "event.a": "1"}])
        status, _, answer = s.http("/services/collector/event", b'{"event":"a"}{bad')
        check("splunk error", (status, json.loads(answer)["code"], json.loads(answer)["invalid-event-number"]), (400, 6, 1))
        value = b"two\nlines"
        entry = (b"__CURSOR=x\n__REALTIME_TIMESTAMP=%d\nMESSAGE\n" % (NOW_NS // 1000) + struct.pack("<Q", len(value)) + value +
                 b"\nPRIORITY=4\n_HOSTNAME=box\n\n")
        status, head, _ = s.http("/insert/journald/upload", entry, {"Content-Type": "application/vnd.fdo.journal"})
        check("journald", (status, head["Accept-Encoding"]), (200, "zstd"))
        check("journald row", bare(rows(s, "_HOSTNAME:=box")), [{"_time": NOW, "_stream": '{_HOSTNAME="box"}', "_msg": "two\nlines",
                                                                "PRIORITY": "4", "level": "warning", "_HOSTNAME": "box"}])
        check("journald type", s.http("/insert/journald/upload", entry)[0], 400)
        row = (struct.pack(">II", 8, 9) + pack_lp(b"\x01" + pack_lp(b"app") + pack_lp(b"v")) + struct.pack(">Q", NOW_NS) + b"\x02" +
               pack_lp(b"") + pack_lp(b"native") + pack_lp(b"app") + pack_lp(b"v"))
        check("internal", s.http("/internal/insert?version=v1", row)[0], 200)
        check("native", s.http("/insert/native?version=v1", row)[0], 200)
        check("version", s.http("/internal/insert?version=v9", row)[0], 400)
        want = [{"_time": NOW, "_stream": '{app="v"}', "_msg": "native", "app": "v"}]
        check("internal row", bare(rows(s, headers={"AccountID": "8", "ProjectID": "9"})), want)
        check("native row", bare(rows(s, "native")), want)


def pack_lp(b):
    return varint(len(b)) + b


def test_against_peer():
    """The same requests to VictoriaLogs: the same rows and stream ids."""
    path = peer("victoria-logs")
    if not path:
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, logs_server() as s:
        argv = [path, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}"]
        with started(argv, port, what="victoria-logs") as v:
            lines = [{"_time": NOW, "_msg": "m1", "a": {"b": {"c": [1, {"d": "e"}], "": None, "f": ""}}, "app": "x", "host": "y"},
                     {"_time": str(NOW_NS + 5), "text": "m2", "app": "x", "esc": "é\t\"q\" \\ \u2028", "big": 12345678901234567890},
                     {"_time": NOW_S + 1, "app": "z", "t": True, "k" * 100: {"l" * 50: "long", "s": 1}}]
            jobs = [("/insert/jsonline?_stream_fields=app,host&_msg_field=text", "\n".join(map(json.dumps, lines)), {}),
                    ("/insert/loki/api/v1/push", json.dumps({"streams": [{"stream": {"job": "j", "a": "é"}, "values": [
                        [str(NOW_NS), "loki line"], [str(NOW_NS + 7), '{"_msg":"in json","n":{"m":1}}', {"meta": "x"}]]}]}),
                     {}),
                    ("/insert/datadog/api/v2/logs", json.dumps([{"message": "dd", "ddtags": "a:b,c:d", "timestamp": NOW_S * 1000}]), {}),
                    ("/insert/elasticsearch/_bulk?_stream_fields=app&_time_field=@timestamp&_msg_field=message",
                     f'{{"create":{{}}}}\n{{"@timestamp":"{NOW}","message":"es","app":"e"}}\n', {})]
            headers = {"Content-Type": "application/json"}  # not a form: the peer would see no body
            for path, body, _ in jobs:
                check(f"{path}: status", s.http(path, body.encode(), headers)[0], v.http(path, body.encode(), headers)[0])
            v.http("/internal/force_flush")
            want = rows(v, wait_for=7)
            check("as many rows as the peer", len(want), 7)
            check("the peer's rows", rows(s), want)


for name, test in list(globals().items()):
    if name.startswith("test_") and (len(sys.argv) < 2 or sys.argv[1] in name):
        test()
finish()
