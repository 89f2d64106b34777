#!/usr/bin/env python3
"""Prometheus remote read: both answers taken apart here, and a real Prometheus that queries through it where it is at hand."""
import random

from ingest_lib import *

T0 = 1700000000000
EQ, NEQ, RE, NRE = range(4)


def query(start, end, *matchers):
    return pb_bytes(1, pb_varint(1, start) + pb_varint(2, end)
                    + b"".join(pb_bytes(3, pb_varint(1, t) + pb_bytes(2, n) + pb_bytes(3, v)) for t, n, v in matchers))


def signed(n):
    return n - (1 << 64) if n >> 63 else n


def labels_of(fields, number=1):
    pairs = [tuple(v.decode() for _, _, v in pb_walk(x)) for n, _, x in fields if n == number]
    assert pairs == sorted(pairs), pairs
    return ",".join(f"{k}={v}" for k, v in pairs)


def samples_answer(body):
    out = []
    for _, _, result in pb_walk(unsnappy(body)):
        series = {}
        for _, _, ts in pb_walk(result):
            fields = pb_walk(ts)
            points = [{n: v for n, _, v in pb_walk(x)} for n, _, x in fields if n == 2]
            series[labels_of(fields)] = [(signed(p[2]), struct.unpack("<d", p[1])[0]) for p in points]
        out.append(series)
    return out


class Bits:
    def __init__(self, data):
        self.value, self.left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, n):
        self.left -= n
        return self.value >> self.left & (1 << n) - 1

    def varint(self):
        n = shift = 0
        while True:
            c = self.take(8)
            n |= (c & 127) << shift
            shift += 7
            if c < 128:
                return n


def xor_chunk(data):
    count, b = int.from_bytes(data[:2], "big"), Bits(data[2:])
    out, delta, lead, trail = [], 0, 0, 0
    for i in range(count):
        if i == 0:
            u = b.varint()
            t, v = (u >> 1) ^ -(u & 1), b.take(64)
        else:
            if i == 1:
                delta = b.varint()
            else:
                size = 0
                while size < 4 and b.take(1):
                    size += 1
                n = (0, 14, 17, 20, 64)[size]
                d = b.take(n)
                delta += d - (1 << n) if n and d > 1 << (n - 1) else d
            t += delta
            if b.take(1):
                if b.take(1):
                    lead, n = b.take(5), b.take(6)
                    trail = 64 - lead - (n or 64)
                v ^= b.take(64 - lead - trail) << trail
        out.append((t, struct.unpack(">d", v.to_bytes(8, "big"))[0]))
    return out


def crc32c(data):
    c = 0xFFFFFFFF
    for x in data:
        c ^= x
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def streamed_answer(body, queries):
    out, i = [{} for _ in range(queries)], 0
    while i < len(body):
        n = shift = 0
        while True:
            c = body[i]
            i += 1
            n |= (c & 127) << shift
            shift += 7
            if c < 128:
                break
        crc, frame = int.from_bytes(body[i : i + 4], "big"), body[i + 4 : i + 4 + n]
        i += 4 + n
        if len(frame) < 20000:
            assert crc == crc32c(frame)
        index, series = 0, []
        for number, _, v in pb_walk(frame):
            if number == 2:
                index = v
            else:
                series.append(pb_walk(v))
        for fields in series:
            points = out[index].setdefault(labels_of(fields), [])
            for number, _, x in fields:
                if number == 2:
                    chunk = {k: v for k, _, v in pb_walk(x)}
                    got = xor_chunk(chunk[4])
                    assert (chunk[1], chunk[2], chunk[3]) == (got[0][0], got[-1][0], 1)
                    points += got
    return out


def fill(s, prefix=""):
    r = random.Random(2)
    body = ""
    for i in range(5):
        values = [[k for k in range(3000)], [r.random() for _ in range(3000)], [r.randrange(100) for _ in range(3000)],
                  [1.5] * 3000, [(-1) ** k * 10.0 ** r.randrange(-300, 300) for k in range(3000)]][i]
        times = [T0 + k * 15000 + (r.randrange(100000) if i == 1 else 0) for k in range(3000)]
        body += json.dumps({"metric": {"__name__": f"m{i % 2}", "a_first": "x", "n": str(i), "zone": "z"}, "values": values, "timestamps": sorted(times)}) + "\n"
    assert s.http(prefix + "/api/v1/import", body.encode())[0] == 204


def read(s, body, path="/api/v1/read", **args):
    return s.http(path, snappy(body), {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}, args)


def answers():
    with kofstore() as s:
        fill(s)
        end = T0 + 10**9
        body = query(T0, end, (EQ, "__name__", "m1")) + query(T0 + 1000, T0 + 60000, (RE, "__name__", "m.*"), (NEQ, "n", "0"), (NRE, "n", "[12]")) + query(
            T0, end, (EQ, "n", "none"))
        status, headers, out = read(s, body)
        check("samples", (status, headers["Content-Type"], headers["Content-Encoding"]), (200, "application/x-protobuf", "snappy"))
        got = samples_answer(out)
        want = [s.export("m1"), s.export('{__name__=~"m.*",n!="0",n!~"[12]"}', start=str(T0 / 1000 + 1), end=str(T0 / 1000 + 60)), {}]
        check_true("same as export", got == want, [sorted(x) for x in got])
        status, headers, out = read(s, body + pb_bytes(2, b"\x01\x00"))
        check("streamed", (status, headers["Content-Type"]), (200, "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"))
        check_true("streamed is the same", streamed_answer(out, 3) == want)
        check("unpacked list, samples first", read(s, body + b"\x10\x00\x10\x01")[1]["Content-Type"], "application/x-protobuf")
        check("extra_label", [len(x) for x in samples_answer(read(s, body, extra_label="n=3")[2])], [1, 1, 0])
        check("extra_filters", [len(x) for x in samples_answer(read(s, body, **{"extra_filters[]": ['{n="3"}', '{n="4"}']})[2])], [1, 2, 0])
        check("other form", read(s, body, "/select/0/prometheus/api/v1/read")[0], 200)
        check("other tenant", [len(x) for x in samples_answer(read(s, body, "/select/5/prometheus/api/v1/read")[2])], [0, 0, 0])
        keys = sorted(samples_answer(read(s, body, "/select/multitenant/prometheus/api/v1/read")[2])[0])
        check("multitenant", keys, [f"__name__=m1,a_first=x,n={n},vm_account_id=0,vm_project_id=0,zone=z" for n in (1, 3)])
        for what, bad, text in (("no snappy", None, "snappy"), ("no protobuf", b"\xff\xff", "malformed protobuf"),
                                ("bad regex", query(0, 1, (RE, "a", "(")), "("), ("bad matcher", query(0, 1, (9, "a", "b")), "matcher type 9")):
            status, _, out = s.http("/api/v1/read", b"\xff\xff\xff\xff\xff\xff") if bad is None else read(s, bad)
            check_true(what, 400 <= status < 500 and text in out.decode(), f"{status} {out}")
        check("GET", s.http("/api/v1/read")[0], 405)
    with kofstore("-search.maxUniqueTimeseries=2") as s:
        fill(s)
        check("too many series", read(s, query(T0, end, (RE, "__name__", "m.*")))[0], 422)
    with kofstore("-search.maxSamplesPerQuery=5000") as s:
        fill(s)
        check("too many samples", read(s, query(T0, end, (RE, "__name__", "m.*")))[0], 422)


def against_prometheus():
    path = peer("prometheus")
    if not path:
        return
    with kofstore() as s, tempfile.TemporaryDirectory() as folder:
        fill(s)
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w") as f:
            f.write(f"remote_read:\n  - url: {s.base}/api/v1/read\n    read_recent: true\n")
        port = free_port()
        argv = [path, f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        with started(argv, port, "/-/ready", "prometheus") as p:
            args = {"start": T0 / 1000 + 600, "end": T0 / 1000 + 44000, "step": "60"}
            for q in ("m0", "sum(rate(m0[5m])) by (n)", 'max_over_time(m1{n!="3"}[10m])', 'count({__name__=~"m.*"})', "m1 offset 1h", "quantile(0.5, m1)"):
                status, _, body = p.http("/api/v1/query_range", args={**args, "query": q})
                theirs = json.loads(body)
                check(f"prometheus {q}", (status, theirs.get("status")), (200, "success"))
                mine = json.loads(s.http("/promql/api/v1/query_range", args={**args, "query": q})[2])
                key = lambda r: sorted(r["metric"].items())
                a, b = (sorted(x["data"]["result"], key=key) for x in (theirs, mine))
                for row in a + b:
                    row["values"] = [(t, float(v)) for t, v in row["values"]]
                check_true(f"same answer {q}", a == b and len(a) > 0, f"{len(a)} {len(b)} {str(a)[:200]} {str(b)[:200]}")
            got = json.loads(p.http("/api/v1/query", args={"query": 'm0{n="4"}[3h]', "time": T0 / 1000 + 9000})[2])["data"]["result"][0]["values"]
            want = s.export('m0{n="4"}', start=str(T0 / 1000 + 9000 - 10800 + 0.001), end=str(T0 / 1000 + 9000))
            check("raw samples", [(int(round(t * 1000)), float(v)) for t, v in got], list(want.values())[0])


answers()
against_prometheus()
finish()
