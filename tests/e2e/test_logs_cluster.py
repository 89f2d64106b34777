#!/usr/bin/env python3
"""A real VictoriaLogs 1.26 in front of kofstore as its storage node: what it answers is what kofstore answers itself. The newer version
of the protocol is read back here, block by block."""
import json
import struct
import sys
import urllib.parse

from logs_lib import *  # noqa: F401,F403
import ingest_lib
from ingest_lib import check, check_true, finish, free_port, started


def put(s):
    body = "".join(json.dumps({"_time": (NOW_S - i) * 10**9 + i, "_msg": f"row {i} took {i % 7}.5s", "app": "abc"[i % 3], "n": str(i)}) + "\n"
                   for i in range(3000)).encode()
    check("insert", s.http("/insert/jsonline?_stream_fields=app", body)[0], 200)
    check("another tenant", s.http("/insert/jsonline", b'{"_msg":"other"}\n', headers={"AccountID": "7", "ProjectID": "9"})[0], 200)


def answer(s, path, headers=None, **args):
    status, _, body = s.http("/select/logsql/" + path, args=args, headers=headers)
    if status != 200:
        return status, body.decode()[:300]
    try:
        return status, json.loads(body)
    except ValueError:
        return status, sorted(json.dumps(json.loads(x), sort_keys=True) for x in body.decode().splitlines() if x)


QUERIES = ["*", "* | sort by (n) | limit 3", '{app="b"} took | fields n, _msg', "* | sort by (_time) desc | limit 5 | delete _msg", "* | top 2 by (app)",
           "* | uniq by (app) with hits", "nosuchword | stats count() c", "* | stats count() c, rate() r", "n:<10 | stats by (_time:1h) count() c",
           "* | stats by (app) count() c1, sum(n) c2, max(_msg) c3, min(_time) c", "* | stats by (app) sum(nothing) s, max(nothing) m, avg(n) a",
           "* | stats count_empty(x) e, sum_len(_msg) l, rate_sum(n) r", "* | stats by (app) count() if (n:<100) few", "* | extract 'took <t>s' | stats by (t) count() c"]


def without_zeros(answered):
    """1.26 fills no empty buckets in, and the first hours of a day have one."""
    status, body = answered
    for group in body["hits"]:
        some = [i for i, n in enumerate(group["values"]) if n]
        for key in ("timestamps", "values"):
            group[key] = [group[key][i] for i in some]
    return status, body


def test_peer():
    peer = ingest_lib.peer("victoria-logs")
    if not peer:
        return
    with logs_server() as s:
        put(s)
        port = free_port()
        with started([peer, f"-storageNode={s.base[7:]}", f"-httpListenAddr=127.0.0.1:{port}"], port, what="victoria-logs") as v:
            for q in QUERIES:
                check(q, answer(v, "query", query=q), answer(s, "query", query=q))
            for path, more in (("field_names", {}), ("field_values", {"field": "app"}), ("streams", {}), ("stream_ids", {}),
                               ("stream_field_names", {}), ("stream_field_values", {"field": "app"})):
                check(path, answer(v, path, query="*", **more), answer(s, path, query="*", **more))
            hits = {"query": "*", "step": "1d", "start": "3h"}
            check("hits", without_zeros(answer(v, "hits", **hits)), without_zeros(answer(s, "hits", **hits)))
            tenant = {"AccountID": "7", "ProjectID": "9"}
            check("tenants apart", answer(v, "query", tenant, query="*"), answer(s, "query", tenant, query="*"))
            check_true("one row", len(answer(v, "query", tenant, query="* | fields _msg")[1]) == 1)
            check("rows by way of it", v.http("/insert/jsonline?_stream_fields=app", json.dumps({"_time": NOW, "_msg": "through", "app": "z"}).encode(),
                                              headers={"Content-Type": "application/json"})[0], 200)
            check("arrive", [r["_msg"] for r in rows(s, "app:=z", wait_for=1)], ["through"])


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        assert self.at <= len(self.data)
        return self.data[self.at - n:self.at]

    def number(self):
        v = shift = 0
        while True:
            b = self.take(1)[0]
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                return v

    def text(self):
        return self.take(self.number()).decode()

    def block(self):
        n, out = self.number(), {}
        for _ in range(self.number()):
            name, kind = self.text(), self.take(1)[0]
            out[name] = [self.text()] * n if kind == 0 else [self.text() for _ in range(n)]
        return n, out


def wire(s, path, **args):
    args = {"version": "v4", "tenant_ids": '[{"account_id":0,"project_id":0}]', "timestamp": str(NOW_NS + 10**12), "disable_compression": "true",
            "allow_partial_response": "false", "hidden_fields_filters": "null", **args}
    return s.http("/internal/select/" + path, urllib.parse.urlencode(args).encode(), {"Content-Type": "application/x-www-form-urlencoded"})


def test_newer_protocol():
    with logs_server() as s:
        put(s)
        status, _, body = wire(s, "query", query="* | fields n, app, nothing")
        check("status", status, 200)
        r, found, counters, order = Reader(body), [], None, set()
        while r.at < len(body):
            pack = Reader(r.take(struct.unpack(">Q", r.take(8))[0]))
            while pack.at < len(pack.data):
                check("counters come last", counters, None)
                mark = pack.take(1)[0]
                n, cols = pack.block()
                if mark == 1:
                    counters = cols
                else:
                    order.add(tuple(cols))
                    found += list(zip(*cols.values()))
        check("rows", sorted(int(x[0]) for x in found), list(range(3000)))
        check("columns as asked for", order, {("n", "app", "nothing")})
        check("counters", (len(counters), counters["RowsFound"]), (14, ["3000"]))
        status, _, body = wire(s, "field_values", query="*", field="app", limit="0")
        r = Reader(body)
        count = struct.unpack(">Q", r.take(8))[0]
        check("values", {r.text(): struct.unpack(">Q", r.take(8))[0] for _ in range(count)}, {"a": 1000, "b": 1000, "c": 1000})
        check("and counters", len(r.block()[1]), 14)
        check("whole", r.at, len(body))
        check("hidden fields", b"row 1" in wire(s, "query", query="*", hidden_fields_filters='["_msg"]')[2], False)
        status, _, body = s.http("/internal/select/tenant_ids", args={"start": str(-2**63), "end": str(2**63 - 1), "disable_compression": "true"})
        check("tenants", json.loads(body), [{"account_id": 0, "project_id": 0}, {"account_id": 7, "project_id": 9}])
        for what, args in (("version", {"version": "v9"}), ("tenants", {"tenant_ids": "[]"}), ("tenants", {"tenant_ids": '[{"account_id":x}]'}),
                           ("time", {"timestamp": "now"}), ("query", {"query": "(("}), ("flag", {"disable_compression": "maybe"}),
                           ("function", {"query": "* | stats_remote count_uniq(n) u"})):
            check(f"refused: {what}", wire(s, "query", **{"query": "*", **args})[0], 400)


for name, test in list(globals().items()):
    if name.startswith("test_") and (len(sys.argv) < 2 or sys.argv[1] in name):
        test()
finish()
