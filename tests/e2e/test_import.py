#!/usr/bin/env python3
"""CSV and native import and export: over HTTP, between two kofstores, and both ways with VictoriaMetrics where it is at hand."""
import gzip
import math
import random

from ingest_lib import *

T0 = 1700000000000


def jsonl(labels, samples):
    def text(v):
        return '"Infinity"' if v == math.inf else '"-Infinity"' if v == -math.inf else repr(v)

    return (json.dumps({"metric": labels})[:-1] + ',"values":[' + ",".join(text(v) for _, v in samples) + '],"timestamps":['
            + ",".join(str(t) for t, _ in samples) + "]}\n").encode()


def data(exact_there):
    """Series of many shapes. exact_there: only values VictoriaMetrics keeps exactly."""
    r = random.Random(1)
    body = jsonl({"__name__": "const", "a": "x"}, [(T0 + i * 15000, 5) for i in range(10000)])
    body += jsonl({"__name__": "counter", "job": "j\u00e9", "path": "C:\\a\"b,c"}, [(T0 + i * 15000 + i % 7, i * 31) for i in range(20000)])
    body += jsonl({"__name__": "gauge"}, [(T0 + i * 1000, r.randrange(100000) / 100) for i in range(5000)])
    body += jsonl({"__name__": "tiny"}, [(T0 + i, r.randrange(1000) / 1e12) for i in range(100)])
    body += jsonl({"__name__": "limits"}, [(T0, 1), (T0 + 1, math.inf), (T0 + 2, -math.inf), (T0 + 3, 0)])
    if not exact_there:
        body += jsonl({"__name__": "doubles"}, [(T0 + i, r.random()) for i in range(3000)])
        body += jsonl({"__name__": "mixed"}, [(T0 + i, r.choice([0.5, 1e300, 5e-324, r.random(), 9007199254740993, -7])) for i in range(500)])
    return body


ALL = '{__name__!=""}'


def csv():
    with kofstore() as s:
        body = b"symbol,ask,bid,when\nGOOG,1.23,4.56,2023-11-14T22:13:20Z\n\"a,b\",7,,2023-11-14T22:13:21.5+00:00\nbad,x,1,2023-11-14T22:13:20Z\n"
        fmt = "1:label:symbol,2:metric:ask,3:metric:bid,4:time:rfc3339"
        check("import", s.http("/api/v1/import/csv", body, args={"format": fmt, "extra_label": "via=csv"})[0], 204)
        check("read back", s.export('{via="csv"}'), {
            "__name__=ask,symbol=GOOG,via=csv": [(T0, 1.23)], "__name__=bid,symbol=GOOG,via=csv": [(T0, 4.56)],
            "__name__=ask,symbol=a,b,via=csv": [(T0 + 1500, 7)]})
        status, headers, out = s.http("/api/v1/export/csv", args={"match[]": "ask", "start": "0", "format": "symbol,__value__,__timestamp__:rfc3339,none"})
        check("export", (status, headers["Content-Type"], sorted(out.decode().split("\n"))),
              (200, "text/csv; charset=utf-8", ["", '"a,b",7,2023-11-14T22:13:21.5Z,', "GOOG,1.23,2023-11-14T22:13:20Z,",
                                                "symbol,__value__,__timestamp__:rfc3339,none"]))
        status, _, out = s.http("/api/v1/import/csv", b"1,2", args={"format": "1:metric:a,2:weight:b"})
        check("bad format", (status, b'entry 2 "2:weight:b"' in out), (400, True))
        status, _, out = s.http("/api/v1/import/csv", b"a\nb\nc", args={"format": "1:metric:a"})
        check("no good line", (status, b"line 2, column 1" in out), (400, True))
        check("bad export format", s.http("/api/v1/export/csv", args={"match[]": "ask"})[0], 400)
        check("tenant", s.http("/insert/5:6/prometheus/api/v1/import/csv", b"1", args={"format": "1:metric:z"})[0], 204)
        check("tenant read", len(s.export("z", "/select/5:6/prometheus")), 1)


def native():
    with kofstore() as a, kofstore() as b:
        check("fill", a.http("/api/v1/import", data(False))[0], 204)
        status, headers, body = a.http("/api/v1/export/native", args={"match[]": ALL, "start": "0"})
        check("export", (status, headers["Content-Type"]), (200, "VictoriaMetrics/native"))
        check("import", b.http("/api/v1/import/native", gzip.compress(body), {"Content-Encoding": "gzip"})[0], 204)
        check_true("exactly the same", a.export(ALL) == b.export(ALL))
        check("nothing lost", len(b.export(ALL)), 7)
        status, _, out = b.http("/api/v1/import/native", body[:-3])
        check("cut", (status, b"cannot parse the block at byte" in out), (400, True))
        check("empty", b.http("/api/v1/import/native", b"")[0], 400)
        check("range alone", b.http("/api/v1/import/native", body[:16])[0], 204)
        a.http("/insert/multitenant/prometheus/api/v1/import/native", body)
        check("multitenant without labels", len(a.export(ALL, "/select/0/prometheus")), 7)
        body = a.http("/select/multitenant/prometheus/api/v1/export/native", args={"match[]": "limits", "start": "0"})[2]
        check_true("tenant labels", b"vm_account_id\x010\x01vm_project_id\x010\x01" in body)


def against_peer():
    path = peer("victoria-metrics")
    if not path:
        return
    with kofstore() as s, victoria_metrics(path) as vm, kofstore() as back:
        vm.http("/api/v1/import", data(True))
        vm.flush()
        theirs = vm.http("/api/v1/export/native", args={"match[]": ALL, "start": "0"})[2]
        check("import theirs", s.http("/api/v1/import/native", theirs)[0], 204)
        check_true("same as theirs", s.export(ALL) == vm.export(ALL))
        fmt = "__name__,a,path,__value__,__timestamp__:custom:2006-01-02 15:04:05.000,__timestamp__:unix_ns,__timestamp__:rfc3339"
        args = {"match[]": '{__name__=~"const|limits|gauge"}', "start": "0", "end": str(T0 // 1000 + 1000), "format": fmt}
        mine, other = (sorted(x.http("/api/v1/export/csv", args=args)[2].split(b"\n")) for x in (s, vm))
        if other and b"__name__,a,path" not in b"".join(other):
            mine = [x for x in mine if not x.startswith(b"__name__,")]  # no header line before 1.140
        check_true("csv export as theirs", mine == other, f"{mine[:3]} {other[:3]}")
    with kofstore() as s, victoria_metrics(path) as vm:
        s.http("/api/v1/import", data(True))
        check("their import", vm.http("/api/v1/import/native", s.http("/api/v1/export/native", args={"match[]": ALL, "start": "0"})[2])[0], 204)
        vm.flush()
        mine, theirs = s.export(ALL), vm.export(ALL)
        check_true("they read ours", mine == theirs, [(k, mine[k][:3], theirs.get(k, [])[:3]) for k in mine if mine[k] != theirs.get(k)][:2])


csv()
native()
against_peer()
finish()
