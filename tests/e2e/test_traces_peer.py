#!/usr/bin/env python3
"""Spans answered as a real victoria-traces answers them, on equal data: LogsQL over spans and Jaeger's API.

    test_traces_peer.py [--random N] [--seed S]

Needs a victoria-traces binary ($KS_PEERS/victoria-traces or the one on $PATH) and KOFSTORE_BIN; skipped without. Both
are asked with the ring alone and with days of spans on disk. What is on purpose not the same is in EXCUSES, with the
reason, and undone before answers are compared.
"""
import argparse
import collections
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(__file__))
from trace_lib import Server, free_ports, request, span  # noqa: E402

SEC = 10 ** 9
EXCUSES = """
event:<i>:event_name …   the first VictoriaTraces; later ones and we have event:event_name:<i>, likewise link:
flags                    the first VictoriaTraces loses them: spans are sent with 0
bytes in an array        VictoriaTraces writes them without quotes, which is no JSON: not sent
NaN, Inf                 VictoriaTraces stores "json: unsupported value: NaN": not sent
values in maps           tags={"map.a.d":…} does not look into maps here; LogsQL does. An empty value is "", not "-"
kind 0                   a tag span.kind without a value there, none here, as in Jaeger
unknown trace            404 here, as later VictoriaTraces and what Grafana needs; 200 with data [] there
order                    of tags, spans and processes: ours as sent, theirs as stored
escapes                  > is \\u003e here, as Go's encoder has it
times of searches        a span's end there, its start here, as in Jaeger: only ranges that hold both are asked for
process p1 p2 …          numbered in order of appearance: compared by content
"""


def find_peer():
    import shutil
    folder = os.environ.get("KS_PEERS")
    return os.path.join(folder, "victoria-traces") if folder and os.path.exists(os.path.join(folder, "victoria-traces")) else shutil.which("victoria-traces")


def get(port, path, args, headers=None):
    url = f"http://127.0.0.1:{port}{path}?" + urllib.parse.urlencode(args, doseq=True)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=60) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def data(rng, now):
    """Requests of spans as services send them: every type of value, events, links, errors, parents."""
    out = []
    for i in range(120):
        trace, spans = rng.randbytes(16), collections.defaultdict(list)
        ids = [rng.randbytes(8) for _ in range(rng.randrange(1, 9))]
        for k, sid in enumerate(ids):
            service = rng.randrange(4)
            start = now - rng.randrange(600) * SEC - rng.randrange(SEC)
            attrs = {"http.request.method": rng.choice(["GET", "POST", "PUT"]), "http.response.status_code": rng.choice([200, 200, 404, 500]),
                     "url.path": rng.choice(["/", "/cart", "/a b", "/ünïcode", '/q"uote', "/a&b<c"]), "ratio": rng.choice([0.5, 2.0, 1e-7, 1e21, -3.25]),
                     "cached": rng.random() < 0.5}
            if rng.random() < 0.2:
                attrs.update({"list": [1, "x", True, 2.5, {"k": [1]}], "map": {"a": {"b": "c", "d": 7}, "e": ""}, "raw": rng.randbytes(5), "empty": ""})
            events = [(start + j, rng.choice(["exception", "retry"]), {"exception.type": "E%d" % j, "n": j}) for j in range(rng.choice([0, 0, 0, 1, 2]))]
            links = [(rng.randbytes(16), rng.randbytes(8), {"why": "batch"})] if rng.random() < 0.1 else []
            status = rng.choice([0, 0, 1, 2])
            spans[service].append(span(trace, sid, rng.choice(["GET /cart", "query", "publish", "op-%d" % (i % 7)]), start,
                                       start + rng.choice([0, 5, 1000, 10 ** 6, 3 * SEC]) + rng.randrange(1000), parent=ids[k // 2] if k else b"",
                                       attrs=attrs, kind=rng.randrange(0, 6), status=status, message="it broke" if status == 2 else "",
                                       events=events, links=links))
        for service, list_ in spans.items():
            res = {"service.name": "svc-%d" % service, "k8s.pod.name": "pod-%d" % rng.randrange(6), "k8s.cluster.name": rng.choice(["east", "west"]),
                   "tenant": rng.choice(["a", "b"]), "process.pid": rng.randrange(5)}
            out.append(request(res, list_, rng.choice([("lib", "1.0"), ("", ""), ("other", "2")])))
    return out


PART = re.compile(r"(event|link):(\d+):")


def row(line):
    out = {}
    for k, v in json.loads(line).items():
        m = PART.match(k)
        out[f"{m[1]}:{k[m.end():]}:{m[2]}" if m else k] = v
    return out


def rows(body, ordered=False):
    out = [json.dumps(row(x), sort_keys=True) for x in body.splitlines()]
    return out if ordered else sorted(out)


FILTERS = [
    "*", "kind:=2", "kind:in(1,3)", "status_code:=2", "status_message:broke", "name:query", 'name:="GET /cart"', "name:~\"op-[0-3]\"",
    "duration:>1s", "duration:<1ms", "duration:range(0, 1000000]", "`resource_attr:service.name`:=svc-1", "{resource_attr:service.name=\"svc-2\"}",
    '{name="query",resource_attr:service.name=~"svc-[01]"}', '_stream:{name!="query"}', "`resource_attr:k8s.cluster.name`:east",
    "`resource_attr:process.pid`:>2", "`span_attr:http.request.method`:in(GET, PUT)", "`span_attr:http.response.status_code`:>=400",
    "`span_attr:url.path`:\"/a b\"", "`span_attr:url.path`:~\"[^/a-z ]\"", "`span_attr:ratio`:<0", "`span_attr:cached`:true", "`span_attr:map.a.d`:7",
    "`span_attr:list`:*", "`span_attr:empty`:=\"-\"", "-`span_attr:list`:*", "`span_attr:missing`:\"\"", "parent_span_id:*", "parent_span_id:\"\"",
    "scope_name:lib", "scope_version:\"\"", "dropped_events_count:0", "trace_state:\"\"", "_msg:=\"-\"", "POST", "_time:15m", "_time:3m",
    "`span_attr:http.request.method`:=GET or status_code:=2", "!(kind:=2 or kind:=3)", "eq_field(kind, status_code)",
    "`span_attr:raw`:*", "start_time_unix_nano:*", "span_id:~\"^0\"",
]
PIPES = [
    "", "", " | fields trace_id, span_id, name, duration", " | stats count() n", " | stats by (name) count() n, sum(duration) d, max(duration) m",
    " | stats by (`resource_attr:service.name`, kind) count() n, count_uniq(trace_id) t", " | uniq by (`resource_attr:service.name`)",
    " | uniq by (name, kind) with hits", " | sort by (duration desc, span_id) | limit 7 | fields span_id, duration",
    " | stats by (_time:5m) count() n", " | field_values kind", " | stats quantile(0.9, duration) q", " | top 3 by (kind)",
    " | stats by (status_code) min(start_time_unix_nano) a, max(end_time_unix_nano) b", " | delete span_id, trace_id | fields kind, `span_attr:url.path`",
    " | stats by (`span_attr:http.request.method`) avg(duration) r",
    " | extract \"op-<n>\" from name | stats by (n) count() c", " | math duration / 1000 as us | fields span_id, us",
    " | format \"<name>/<kind>\" as x | fields x, span_id", " | first 3 by (span_id) | fields span_id", " | last 2 by (trace_id, span_id) | fields span_id",
]


def same(args, a, b):
    """Equal multisets; what is only here and only there, shortly, when not."""
    if a != b:
        x, y = collections.Counter(a), collections.Counter(b)
        raise AssertionError(f"{args}: {len(a)} rows and {len(b)}\nonly here: {list((x - y).elements())[:2]}\nonly there: {list((y - x).elements())[:2]}")


def compare_logsql(mine, peer, rng, count, tally):
    queries = [f + p for f in FILTERS for p in ("", " | stats count() n")]
    queries += [rng.choice(FILTERS) + " " + rng.choice(FILTERS) + rng.choice(PIPES) for _ in range(count)]
    queries += ["* " + p for p in PIPES if p]
    for q in queries:
        args = {"query": q, "start": int(time.time()) - 7200, "end": int(time.time()) + 3600}
        if rng.random() < 0.15:
            args["extra_filters"] = '"resource_attr:tenant":="a"'
        if rng.random() < 0.1:
            args["extra_stream_filters"] = '{resource_attr:service.name="svc-0"}'
        a, b = get(mine, "/select/logsql/query", args), get(peer, "/select/logsql/query", args)
        tally["logsql"] += 1
        assert a[0] == b[0], (args, a[0], a[1][:300], b[0], b[1][:300])
        if a[0] == 200:
            same(args, rows(a[1]), rows(b[1]))
    values = [("/field_names", {"query": "*"}), ("/field_names", {"query": "kind:=3"}), ("/streams", {"query": "*"}), ("/stream_ids", {"query": "*"}),
              ("/stream_field_names", {"query": "*"}), ("/stream_field_values", {"query": "*", "field": "name"})]
    values += [("/field_values", {"query": "*", "field": f}) for f in (
        "resource_attr:service.name", "resource_attr:k8s.cluster.name", "span_attr:url.path", "kind", "name", "scope_name", "nothing")]
    for path, args in values:
        a, b = [{PART.sub(lambda m: m[1] + ":", v["value"]) if path == "/field_names" else v["value"]: v["hits"]
                 for v in json.loads(get(p, "/select/logsql" + path, args)[1])["values"]} for p in (mine, peer)]
        if path == "/field_names":  # event:name:0 and event:0:name: without the number the names are the same
            a = {re.sub(r"^((?:event|link):.*):\d+$", r"\1", k): 0 for k in a}
            b = {k: 0 for k in b}
        tally["values"] += 1
        assert a == b, (path, args, sorted(set(a.items()) ^ set(b.items()))[:5])
    for path, args in [("/hits", {"query": "*", "step": "5m"}), ("/hits", {"query": "*", "step": "1h", "field": "kind"}),
                       ("/stats_query", {"query": "* | stats by (kind) count() n, max(duration) d"}),
                       ("/stats_query_range", {"query": "* | stats by (name) count() n", "step": "10m"})]:
        args = {**args, "start": str(int(time.time()) // 3600 * 3600 - 7200), "end": str(int(time.time()) // 3600 * 3600 + 7200)}
        a, b = [flat(json.loads(get(p, "/select/logsql" + path, args)[1])) for p in (mine, peer)]
        tally["series"] += 1
        assert a == b, (path, args, a, b)


def flat(answer):
    """hits and stats without the order of series and the time they were asked at."""
    if "hits" in answer:
        return sorted(json.dumps([h["fields"], sorted((t, v) for t, v in zip(h["timestamps"], h["values"]) if v), h["total"]], sort_keys=True)
                      for h in answer["hits"])
    return sorted(json.dumps([r["metric"], r.get("values") or r["value"][1]], sort_keys=True) for r in answer["data"]["result"])


def trace(t):
    """A trace without the orders that differ."""
    out = []
    for s in t["spans"]:
        p = t["processes"][s.pop("processID")]
        s["process"] = [p["serviceName"], sorted(json.dumps(x, sort_keys=True) for x in p["tags"])]
        s["tags"] = sorted(json.dumps(x, sort_keys=True) for x in s["tags"] if (x["key"], x["value"]) != ("span.kind", ""))
        s["logs"] = sorted(json.dumps([x["timestamp"], sorted(json.dumps(f, sort_keys=True) for f in x["fields"])]) for x in s["logs"])
        s["references"] = sorted(json.dumps(x, sort_keys=True) for x in s["references"])
        out.append(json.dumps(s, sort_keys=True))
    return t["traceID"], sorted(out)


def traces(body):
    return dict(trace(t) for t in json.loads(body)["data"])


def compare_jaeger(mine, peer, ids, now, tally):
    base = "/select/jaeger/api"
    for path in ["/services"] + ["/services/svc-%d/operations" % i for i in range(5)]:
        a, b = get(mine, base + path, {}), get(peer, base + path, {})
        tally["names"] += 1
        assert sorted(json.loads(a[1])["data"] or []) == sorted(json.loads(b[1])["data"] or []), (path, a, b)
    for i in ids:
        a, b = get(mine, base + "/traces/" + i, {}), get(peer, base + "/traces/" + i, {})
        tally["traces"] += 1
        same(i, traces(a[1]).get(i, []), traces(b[1]).get(i, []))
    assert get(mine, base + "/traces/" + "0f" * 16, {})[0] == 404 and get(peer, base + "/traces/" + "0f" * 16, {})[0] in (200, 404)
    window = {"start": (now - 7200 * SEC) // 1000, "end": (now + 600 * SEC) // 1000, "limit": 1000}
    tags = [None, {"http.request.method": "GET"}, {"http.response.status_code": "500"}, {"error": "true"}, {"span.kind": "client"}, {"cached": "true"},
            {"resource_attr:tenant": "a"}, {"resource_attr:k8s.cluster.name": "west", "http.request.method": "PUT"}, {"url.path": "/a b"},
            {"otel.status_description": "it broke"}, {"otel.scope.name": "lib"}, {"nothing": "x"}, {"error": "false"}]
    asked = [{"service": "svc-%d" % (i % 4), "tags": json.dumps(t)} if t else {"service": "svc-%d" % (i % 4)} for i, t in enumerate(tags * 2)]
    asked += [{"service": "svc-1", "operation": "query"}, {"service": "svc-1", "operation": "nothing"}, {"service": "none"},
              {"service": "svc-2", "minDuration": "1s"}, {"service": "svc-2", "maxDuration": "1ms"}, {"service": "svc-3", "minDuration": "1us", "maxDuration": "2s"},
              {"service": "svc-0", "operation": "GET /cart", "tags": '{"http.request.method":"POST"}', "minDuration": "1us"}]
    for args in asked:
        a, b = [get(p, base + "/traces", {**window, **args}) for p in (mine, peer)]
        tally["searches"] += 1
        assert a[0] == b[0] == 200, (args, a, b)
        x, y = traces(a[1]), traces(b[1])
        assert set(x) == set(y), (args, len(x), len(y), sorted(set(x) ^ set(y))[:4])
        for i in x:
            same(args, x[i], y[i])
    for bad in ({}, {"service": "x", "limit": "z"}, {"service": "x", "minDuration": "soon"}, {"service": "x", "tags": "{"}, {"service": "x", "start": "z"}):
        a, b = [get(p, base + "/traces", bad) for p in (mine, peer)]
        tally["errors"] += 1
        assert (a[0] == 200) == (b[0] == 200), (bad, a, b)


def run(peer_binary, flags, seed, count, tally):
    rng, now = random.Random(seed), time.time_ns()
    pport, mport = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        peer = subprocess.Popen([peer_binary, "-storageDataPath=" + folder, f"-httpListenAddr=127.0.0.1:{pport}", "-loggerLevel=ERROR"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        s = Server(f"-logs.listenAddr=traces=127.0.0.1:{mport}", *flags)
        try:
            for _ in range(200):
                try:
                    if get(pport, "/health", {})[0] == 200:
                        break
                except OSError:
                    time.sleep(0.05)
            for body in data(rng, now):
                for port in (pport, mport):
                    r = urllib.request.Request(f"http://127.0.0.1:{port}/insert/opentelemetry/v1/traces", body, {"Content-Type": "application/x-protobuf"})
                    assert urllib.request.urlopen(r, timeout=20).status == 200
            want = rows(get(mport, "/select/logsql/query", {"query": "*"})[1])
            for _ in range(100):
                if rows(get(pport, "/select/logsql/query", {"query": "*"})[1]) == want:
                    break
                time.sleep(0.2)
            ids = [json.loads(x)["trace_id"] for x in get(mport, "/select/logsql/query", {"query": "* | uniq by (trace_id)"})[1].splitlines()]
            compare_logsql(mport, pport, rng, count, tally)
            compare_jaeger(mport, pport, ids, now, tally)
        finally:
            peer.send_signal(signal.SIGTERM)
            peer.wait()
            s.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--random", type=int, default=150)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    peer = find_peer()
    if not peer:
        print("skipped: no victoria-traces found (KS_PEERS or PATH)")
        return
    tally = collections.Counter()
    for flags in ((), ("-traces.retentionPeriod=7d", "-traces.maxTraces=50")):
        run(peer, flags, a.seed, a.random, tally)
    print("equal:", dict(tally))


if __name__ == "__main__":
    main()
