#!/usr/bin/env python3
"""Native histograms without a peer: remote write in, answers, kinds of flag, exact lines out and in again, the offline tools, deletes."""
import base64
import glob
import json
import subprocess
import tempfile

from ingest_lib import *

T0 = 1700006400000
NAN_STALE = 0x7FF0000000000002


def spans(field, pairs):
    return b"".join(pb_bytes(field, varint(8) + zigzag(o) + pb_varint(2, n)) for o, n in pairs)


def integer(t, i, hint=0):
    """Count 12 + 3i in a negative, the zero and three positive buckets of schema 2."""
    return (pb_varint(1, 12 + 3 * i) + pb_double(3, 2.5 * i) + varint(4 << 3) + zigzag(2) + pb_double(5, 0.001) + pb_varint(6, 2)
            + spans(8, [(0, 1)]) + pb_bytes(9, zigzag(1 + i)) + spans(11, [(-1, 2), (1, 1)])
            + pb_bytes(12, zigzag(2) + zigzag(i) + zigzag(3)) + pb_varint(14, hint) + pb_varint(15, t))


def with_floats(t, i):
    return (pb_double(2, 6.5 + i) + pb_double(3, 0.1 * i) + varint(4 << 3) + zigzag(0) + pb_double(5, 0) + pb_double(7, 0.5)
            + spans(11, [(3, 2)]) + pb_bytes(13, struct.pack("<dd", 2 + i, 4)) + pb_varint(15, t))


def custom(t, i):
    return (pb_varint(1, 3 + i) + pb_double(3, 7) + varint(4 << 3) + zigzag(-53) + pb_double(5, 0) + pb_varint(6, 0)
            + spans(11, [(0, 2)]) + pb_bytes(12, zigzag(3) + zigzag(i - 3)) + pb_varint(15, t)
            + pb_bytes(16, struct.pack("<dd", 0.5, 2.5)))


def stale(t):
    return pb_varint(1, 0) + pb_fixed64(3, NAN_STALE) + varint(4 << 3) + zigzag(0) + pb_varint(15, t)


def series(name, messages, samples=()):
    labels = b"".join(pb_bytes(1, pb_bytes(1, k) + pb_bytes(2, v)) for k, v in (("__name__", name), ("job", "j")))
    return pb_bytes(1, labels + b"".join(pb_bytes(2, pb_double(1, v) + pb_varint(2, t)) for t, v in samples)
                    + b"".join(pb_bytes(4, m) for m in messages))


def write(s, body, prefix=""):
    return s.http(prefix + "/api/v1/write", snappy(body), {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"})


def everything():
    n = 300
    return (series("ints", [integer(T0 + i * 15000, i) for i in range(n)])
            + series("floats", [with_floats(T0 + i * 15000, i) for i in range(n)])
            + series("own", [custom(T0 + i * 15000, i) for i in range(n)] + [stale(T0 + n * 15000)])
            + series("mixed", [integer(T0 + i * 15000, i) for i in range(0, n, 2)], [(T0 + i * 15000, i) for i in range(1, n, 2)]))


def lines(s, prefix="", match='{job="j"}'):
    status, _, body = s.http(prefix + "/api/v1/export", args={"match[]": match, "start": "0", "native_histograms": "1"})
    assert status == 200, body
    out = {}
    for row in map(json.loads, body.decode().splitlines()):
        for t, v in zip(row["timestamps"], row.get("histograms") or row["values"]):
            out[row["metric"]["__name__"], t] = v
    return out


def query(s, expr, t, prefix="/prometheus-strict"):
    status, _, body = s.http(prefix + "/api/v1/query", args={"query": expr, "time": t / 1000})
    assert status == 200, body
    return json.loads(body)["data"]["result"]


def answers(s):
    at = T0 + 299 * 15000
    got = query(s, "ints", at)[0]["histogram"][1]
    check("integer histogram", (got["count"], got["sum"], len(got["buckets"])), ("909", "747.5", 5))
    got = query(s, "floats", at)[0]["histogram"][1]
    check("float histogram", (got["count"], got["buckets"][-1]), ("305.5", [0, "8", "16", "4"]))
    check("custom bounds", query(s, "own", at)[0]["histogram"][1]["buckets"], [[3, "-Inf", "0.5", "3"], [0, "0.5", "2.5", "299"]])
    check("stale ends it", query(s, "own", at + 15000), [])
    check("mixed: the number", query(s, "mixed", at)[0]["value"][1], "299")
    check("mixed: the histogram", query(s, "histogram_count(mixed)", at - 15000)[0]["value"][1], "906")
    check("counts both", query(s, "count_over_time(mixed[1h])", at)[0]["value"][1], "240")
    check("rate", round(float(query(s, "histogram_count(rate(ints[5m]))", at)[0]["value"][1]), 12), 0.2)


def refused(s):
    bad = integer(T0, 1).replace(pb_varint(1, 15), pb_varint(1, 1))
    status, _, body = write(s, series("bad", [bad]))
    check("a count below its buckets", (status, b"histogram" in body), (400, True))
    check("nothing of it is kept", lines(s, match="bad"), {})
    for what in ('{"metric":{"__name__":"x"},"histograms":["%%%"],"timestamps":[1]}',
                 '{"metric":{"__name__":"x"},"histograms":["AAAA"],"timestamps":[1]}',
                 '{"metric":{"__name__":"x"},"histograms":[1],"timestamps":[1]}',
                 '{"metric":{"__name__":"x"},"histograms":["%s"]}' % base64.b64encode(bad).decode()):
        check(f"import of {what[:60]}", s.http("/api/v1/import", what.encode())[0], 400)
    check("nothing of these", lines(s, match="x"), {})


def main():
    with kofstore("-nativeHistograms=native", "-storage.shards=4") as s:
        check("write", write(s, everything())[0], 204)
        answers(s)
        first = lines(s)
        check("all is exported", len(first), 300 * 4 + 1)
        text = s.http("/api/v1/export", args={"match[]": '{job="j"}', "start": "0", "native_histograms": "1"})[2]
        check("import", s.http("/insert/7/prometheus/api/v1/import", text)[0], 204)
        check("the same again", lines(s, "/select/7/prometheus"), first)
        plain = s.http("/api/v1/export", args={"match[]": '{job="j"}', "start": "0"})[2]
        check("not unless asked for", b"histograms" in plain, False)
        refused(s)
        s.http("/internal/force_flush")
        s.http("/internal/force_merge")
        check("after a merge", lines(s), first)
        answers(s)
        check("delete", s.http("/api/v1/admin/tsdb/delete_series", b"", args={"match[]": "ints"}, method="POST")[0], 204)
        check("deleted", [k for k in lines(s) if k[0] == "ints"], [])
    for flag, strict, buckets in (("vmrange", False, True), ("both", True, True), ("native", True, False)):
        with kofstore(f"-nativeHistograms={flag}") as s:
            write(s, everything())
            at = T0 + 299 * 15000
            check(f"{flag}: strict", len(query(s, "ints", at)), int(strict))
            check(f"{flag}: MetricsQL", query(s, "ints", at, ""), [])
            check(f"{flag}: vmrange", len(query(s, "ints_bucket", at, "")) > 0, buckets)
            check(f"{flag}: vmrange's quantile", len(query(s, "histogram_quantile(0.5, sum(ints_bucket) by (vmrange))", at, "")), int(buckets))
    offline()
    finish()


def offline():
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        argv = [BIN, "serve", f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y",
                "-nativeHistograms=native"]
        with started(argv, port, what="kofstore") as s:
            write(s, everything())
            first = lines(s)
        with started(argv, port, what="kofstore") as s:
            write(s, series("later", [integer(T0 + 86400000, 1)]))
            check("after a restart", {k: v for k, v in lines(s).items() if k[0] != "later"}, first)
            s.http("/api/v1/admin/tsdb/delete_series", b"", args={"match[]": "nothing"}, method="POST")
            s.http("/internal/force_merge")
        got = {}
        for part in glob.glob(f"{folder}/parts/*/*.part"):
            check(f"verify {part}", subprocess.run([BIN, "block", "verify", part], capture_output=True).returncode, 0)
            out = subprocess.run([BIN, "block", "export", part], capture_output=True, text=True)
            check("block export", out.returncode, 0)
            for row in map(json.loads, out.stdout.splitlines()):
                for t, v in zip(row["timestamps"], row.get("histograms") or row["values"]):
                    got[row["metric"]["__name__"], t] = v
        check_true("sealed ones are in parts", got and all(first.get(k) == v for k, v in got.items()), len(got))


if __name__ == "__main__":
    main()
