#!/usr/bin/env python3
"""LogsQL over spans: KOF's calls, every route of it, listeners of the trace store, and who may see what on every
route there is."""
import json
import os
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, free_ports, request, span  # noqa: E402

SEC = 10 ** 9
TID_A, TID_B, TID_AB = b"\xaa" * 16, b"\xbb" * 16, b"\xab" * 16
SELECT = "/store/traces/select/logsql"


def fill(s, now):
    """Spans of tenants a and b, and a trace both take part in."""
    a = request({"service.name": "shop", "tenant": "a", "k8s.cluster.name": "east"}, [
        span(TID_A, b"\1" * 8, "secret-a-root", now - 2 * SEC, now - SEC, attrs={"http.route": "/cart", "n": 7}),
        span(TID_A, b"\2" * 8, "secret-a-db", now - 2 * SEC, now - SEC, parent=b"\1" * 8, kind=3, status=2, message="a broke"),
        span(TID_AB, b"\3" * 8, "secret-a-shared", now - 2 * SEC, now - SEC, attrs={"who": "secret-a"})])
    b = request({"service.name": "bank", "tenant": "b", "k8s.cluster.name": "west"}, [
        span(TID_B, b"\4" * 8, "secret-b-root", now - 3 * SEC, now - SEC, attrs={"http.route": "/pay"}, events=[(now, "secret-b-event", {"k": "v"})]),
        span(TID_AB, b"\5" * 8, "secret-b-shared", now - 2 * SEC, now - SEC, parent=b"\3" * 8, attrs={"who": "secret-b"})])
    assert s.post(a + b, "main", "/insert/opentelemetry/v1/traces")[0] == 200


def ask(s, path, port="main", **args):
    q = "?" + urllib.parse.urlencode(args, doseq=True)
    return s.call(port, path + q)


def lines(s, query, port="main", path=SELECT, **args):
    code, body, _ = ask(s, path + "/query", port, query=query, **args)
    assert code == 200, (query, args, code, body)
    return [json.loads(x) for x in body.splitlines()]


def values(s, path, **args):
    code, body, _ = ask(s, SELECT + path, **args)
    assert code == 200, (path, args, code, body)
    return {v["value"]: v["hits"] for v in json.loads(body)["values"]}


def kof_calls(s):
    tenant = '"resource_attr:tenant":="a"'
    services = lines(s, '* | uniq by ("resource_attr:service.name")')
    assert sorted(x["resource_attr:service.name"] for x in services) == ["bank", "shop"], services
    services = lines(s, '* | uniq by ("resource_attr:service.name")', extra_filters=tenant)
    assert services == [{"resource_attr:service.name": "shop"}], services
    rows = lines(s, '`resource_attr:k8s.cluster.name`:"west"', start="2020-01-01T00:00:00Z", end="2099-01-01T00:00:00Z")
    assert len(rows) == 2
    row = [r for r in rows if r["name"] == "secret-b-root"][0]
    assert all(isinstance(v, str) for v in row.values())
    assert row["trace_id"] == TID_B.hex() and row["span_id"] == "04" * 8 and row["kind"] == "2" and row["status_code"] == "0"
    assert row["duration"] == str(2 * SEC) and row["span_attr:http.route"] == "/pay" and row["_msg"] == "-"
    assert row["event:event_name:0"] == "secret-b-event" and row["event:event_attr:k:0"] == "v" and "parent_span_id" not in row
    assert row["_stream"] == '{name="secret-b-root",resource_attr:service.name="bank"}', row["_stream"]
    assert int(row["end_time_unix_nano"]) - int(row["start_time_unix_nano"]) == 2 * SEC
    assert values(s, "/field_values", query="*", field="resource_attr:k8s.cluster.name") == {"east": 3, "west": 2}


def every_route(s):
    assert len(lines(s, "*")) == 5 and len(lines(s, "*", limit=2)) == 2
    assert [r["span_id"] for r in lines(s, f'trace_id:="{TID_A.hex()}" | sort by (span_id) | fields span_id')] == ["01" * 8, "02" * 8]
    assert values(s, "/streams", query="status_code:=2") == {'{name="secret-a-db",resource_attr:service.name="shop"}': 1}
    assert len(values(s, "/stream_ids", query="*")) == 5
    assert values(s, "/stream_field_names", query="*") == {"name": 5, "resource_attr:service.name": 5}
    assert values(s, "/stream_field_values", query="*", field="resource_attr:service.name") == {"shop": 3, "bank": 2}
    assert values(s, "/field_names", query="name:=secret-a-db")["status_message"] == 1
    hits = s.json("main", SELECT + "/hits", query="*", step="1h", field="kind")["hits"]
    assert sum(h["total"] for h in hits) == 5 and {h["fields"]["kind"] for h in hits} == {"2", "3"}, hits
    facets = s.json("main", SELECT + "/facets", query="*", keep_const_fields=1)["facets"]
    assert "resource_attr:tenant" in {f["field_name"] for f in facets}
    got = s.json("main", SELECT + "/stats_query", query="* | stats by (`resource_attr:tenant`) count() n, max(duration) d")["data"]["result"]
    assert {(r["metric"]["resource_attr:tenant"], r["metric"]["__name__"], r["value"][1]) for r in got} == {
        ("a", "n", "3"), ("b", "n", "2"), ("a", "d", str(SEC)), ("b", "d", str(2 * SEC))}, got
    got = s.json("main", SELECT + "/stats_query_range", query="* | stats count() n", start="now-1h", end="now+1h", step="1h")["data"]["result"]
    assert sum(int(v) for r in got for _, v in r["values"]) == 5, got
    assert s.json("main", SELECT + "/query_time_range", query="_time:5m")["hasTimeFilter"]
    assert s.json("main", "/store/traces/select/tenant_ids") == [{"account_id": 0, "project_id": 0}]
    # What only makes sense for logs is refused, and nothing leaks into log stores.
    assert s.call("main", "/store/traces/insert/jsonline", b'{"_msg":"x"}')[0] >= 400
    assert ask(s, "/select/logsql/query", query="*")[1] == b""
    code, body, _ = ask(s, "/store/traces/delete/run_task", filter="*")
    assert code >= 400, (code, body)


def listeners(s, ports):
    base = {k: f"http://127.0.0.1:{p}" for k, p in ports.items()}

    def get(role, path, data=None, headers=None):
        try:
            with urllib.request.urlopen(urllib.request.Request(base[role] + path, data, headers or {}), timeout=20) as a:
                return a.status, a.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()
    for role in ("traces", "traces/select"):
        assert len(get(role, "/select/logsql/query?query=*")[1].splitlines()) == 5
        assert json.loads(get(role, "/select/jaeger/api/services")[1])["data"] == ["bank", "shop"]
        assert get(role, "/health")[0] == 200 and get(role, "/metrics")[0] == 200
        assert get(role, "/api/v1/query?query=1")[0] == 400
        assert get(role, "/insert/jsonline", b"{}")[0] >= 400
    assert get("traces/insert", "/select/logsql/query?query=*")[0] == 400
    assert get("traces/insert", "/select/jaeger/api/services")[0] == 400
    assert get("traces/select", "/insert/opentelemetry/v1/traces", b"")[0] == 400
    for role in ("traces", "traces/insert"):
        assert get(role, "/insert/opentelemetry/v1/traces", b"", {"Content-Type": "application/x-protobuf"})[0] == 200
        assert get(role, "/insert/ready")[0] == 200


# Every way to read spans, with arguments that find something. {} stands for the access filter.
def reads(now):
    q = {"query": "*"}
    r = [(SELECT + p, a) for p, a in [
        ("/query", q), ("/query", {"query": "*", "limit": 100}), ("/query", {"query": "* | fields name, `span_attr:who`"}),
        ("/query", {"query": f'trace_id:in("{TID_A.hex()}","{TID_B.hex()}","{TID_AB.hex()}")'}),
        ("/query", {"query": "secret or name:* or !secret"}), ("/query", {"query": "* | format csv", "format": "csv"}),
        ("/query", {"query": f'* | filter trace_id:in(trace_id:="{TID_AB.hex()}" | fields trace_id)'}),
        ("/query", {"query": "* | join by (trace_id) (* | fields trace_id, name | rename name n2)"}),
        ("/query", {"query": "kind:=2 | union (*)"}), ("/query", {"query": "name:=nothing | union (*)"}),
        ("/query", {"query": "* | stream_context before 10 after 10"}), ("/query", {"query": "* | facets 100"}),
        ("/query", {"query": "* | uniq by (name)"}), ("/query", {"query": "* | field_names"}),
        ("/query", {"query": "* | stats by (name) row_any(*) x"}), ("/query", {"query": "* | top 10 by (name)"}),
        ("/hits", {"query": "*", "field": "name", "step": "1h"}), ("/facets", q), ("/stats_query", {"query": "* | stats by (name) count() n"}),
        ("/stats_query_range", {"query": "* | stats by (name) count() n", "start": "now-1h", "end": "now+1h", "step": "1h"}),
        ("/streams", q), ("/stream_field_values", {"query": "*", "field": "name"}), ("/field_values", {"query": "*", "field": "name"}),
        ("/field_values", {"query": "*", "field": "resource_attr:service.name"})]]
    for base, port in (("/select/jaeger/api", "main"), ("/api", "jaeger")):
        r += [(base + p, a, port) for p, a in [
            ("/services", {}), ("/services/shop/operations", {}), ("/services/bank/operations", {}), ("/operations", {"service": "bank"}),
            ("/operations", {"service": "shop"}), ("/traces", {"service": "shop"}), ("/traces", {"service": "bank"}),
            ("/traces", {"service": "bank", "operation": "secret-b-root"}), ("/traces/" + TID_A.hex(), {}), ("/traces/" + TID_B.hex(), {}),
            ("/traces/" + TID_AB.hex(), {}), ("/traces", {"traceID": [TID_AB.hex(), TID_B.hex()], "service": "bank"}),
            ("/dependencies", {"endTs": now // 10 ** 6 + 10000, "lookback": 3600000}), ("/v3/services", {}), ("/v3/operations", {"service": "bank"}),
            ("/v3/operations", {"service": "shop"}), ("/v3/traces/" + TID_AB.hex(), {}), ("/v3/traces/" + TID_B.hex(), {}),
            ("/v3/traces", {"query.service_name": "bank", "query.start_time_min": "2020-01-01T00:00:00Z", "query.start_time_max": "2099-01-01T00:00:00Z"}),
            ("/v3/traces", {"query.service_name": "shop", "query.start_time_min": "2020-01-01T00:00:00Z", "query.start_time_max": "2099-01-01T00:00:00Z"}),
            ("/v3/trace-summaries", {"query.service_name": "shop", "query.start_time_min": "2020-01-01T00:00:00Z", "query.start_time_max": "2099-01-01T00:00:00Z"}),
            ("/v3/trace-summaries", {"query.service_name": "bank", "query.start_time_min": "2020-01-01T00:00:00Z", "query.start_time_max": "2099-01-01T00:00:00Z"}),
            *[("/metrics/" + m, {"service": ["shop", "bank"], "groupByOperation": "true", "quantile": "0.5", "spanKind": ["server", "client"],
                                 "endTs": now // 10 ** 6 + 10000}) for m in ("latencies", "calls", "errors")]]]
    tempo = "/select/tempo/api"
    r += [(tempo + p, a) for p, a in [
        ("/search", {"q": "{}"}), ("/search", {"q": '{resource.service.name="bank"}'}), ("/search", {"q": '{name="secret-b-root"}'}),
        ("/search", {"q": '{resource.service.name="shop"}'}), ("/traces/" + TID_AB.hex(), {}), ("/traces/" + TID_B.hex(), {}),
        ("/v2/traces/" + TID_AB.hex(), {}), ("/search/tags", {}), ("/v2/search/tags", {}), ("/search/tag/service.name/values", {}),
        ("/search/tag/name/values", {}), ("/v2/search/tag/resource.service.name/values", {}), ("/v2/search/tag/name/values", {}),
        ("/v2/search/tag/span.who/values", {})]]
    return [(x[0], x[1], x[2] if len(x) > 2 else "main") for x in r]


def nobody_sees_the_other(s, now):
    """With the filter of tenant a nothing of b may show, in any answer; without one it would."""
    filters = [{"extra_filters": '"resource_attr:tenant":="a"'}, {"extra_filters": '{"resource_attr:tenant":"a"}'},
               {"extra_stream_filters": '{resource_attr:service.name="shop"}'}, {"extra_stream_filters": '{"resource_attr:service.name":"shop"}'},
               {"extra_filters": ['"resource_attr:tenant":="a"', "kind:!=99"]}, {"extra_filters": '_stream:{resource_attr:service.name="shop"}'}]
    shown = 0
    for path, args, port in reads(now):
        _, free, _ = ask(s, path, port, **args)
        shown += b"secret-b" in free or b"bank" in free
        for f in filters:
            code, body, _ = ask(s, path, port, **args, **f)
            assert b"secret-b" not in body and b"bank" not in body.replace(b"service bank", b""), (path, args, f, body)
            assert code in (200, 404), (path, args, f, code, body)
        # A filter that nothing fits; one that is broken is refused, never ignored.
        code, body, _ = ask(s, path, port, **args, extra_filters='"resource_attr:tenant":="nobody"')
        assert b"secret" not in body and code in (200, 404), (path, body)
        for bad in ({"extra_filters": "a:b:c:(("}, {"extra_stream_filters": "{a="}):
            code, body, _ = ask(s, path, port, **args, **bad)
            assert code in (400, 422) and b"secret" not in body, (path, bad, code, body)
    assert shown > 30, shown


def tenants_by_header(s, now):
    body = request({"service.name": "other"}, [span(b"\xcc" * 16, b"\6" * 8, "of-7", now - SEC, now)])
    assert s.post(body, "main", "/insert/opentelemetry/v1/traces", AccountID="7", ProjectID="3")[0] == 200
    q = SELECT + "/query?query=*"
    assert len(s.call("main", q)[1].splitlines()) == 5
    assert b"of-7" in s.call("main", q, headers={"AccountID": "7", "ProjectID": "3"})[1]
    assert b"of-7" in s.call("main", "/store/traces/select/7:3/logsql/query?query=*")[1]
    assert s.call("main", q, headers={"AccountID": "7"})[1] == b""
    assert len(s.json("main", "/store/traces/select/tenant_ids")) == 2


def run(*flags):
    names = ["traces", "traces/select", "traces/insert"]
    ports = dict(zip(names, free_ports(3)))
    s = Server(*[f"-logs.listenAddr={n}=127.0.0.1:{p}" for n, p in ports.items()], *flags)
    try:
        now = time.time_ns()
        fill(s, now)
        for restart in (False, True):
            if restart:
                s.restart()
            kof_calls(s)
            every_route(s)
            listeners(s, ports)
            nobody_sees_the_other(s, now)
        tenants_by_header(s, now)
        tail(s)
    finally:
        s.close()


def tail(s):
    """Spans as they come, each once, under the filter."""
    got, args = [], {"query": "name:tailed", "refresh_interval": "100ms", "offset": "1s", "start_offset": "1ms",
                     "extra_filters": '"resource_attr:tenant":="a"'}
    url = f"http://127.0.0.1:{s.ports['main']}{SELECT}/tail?" + urllib.parse.urlencode(args)

    def read():
        try:
            with urllib.request.urlopen(url, timeout=20) as r:
                for line in r:
                    got.append(json.loads(line)["name"])
        except OSError:
            pass
    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.5)
    for i in range(3):
        now = time.time_ns()
        for t in "ab":
            body = request({"service.name": "tail", "tenant": t}, [span(bytes([0x70 + i]) * 16, b"\7" * 8, f"tailed {t}{i}", now - 5, now)])
            assert s.post(body, "main", "/insert/opentelemetry/v1/traces")[0] == 200
        time.sleep(0.3)
    for _ in range(100):
        if len(got) >= 3:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    assert got == ["tailed a0", "tailed a1", "tailed a2"], got


def main():
    run()
    run("-traces.retentionPeriod=2d")
    print("ok")


if __name__ == "__main__":
    main()
