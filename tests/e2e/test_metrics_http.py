#!/usr/bin/env python3
"""The server as its clients see it: starts $KOFSTORE_BIN, writes by every protocol, queries back, kills it, starts it again.

Standard library only. Prints a line per failed check and ends with "N passed, M failed"."""
import contextlib
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ingest_lib  # noqa: E402
from ingest_lib import BIN, check, check_true, pb_bytes as field, snappy, varint  # noqa: E402


def series(labels, samples):
    out = b""
    for name, value in labels.items():
        out += field(1, field(1, name.encode()) + field(2, value.encode()))
    for ms, value in samples:
        out += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(ms))
    return field(1, out)


# --- the server ------------------------------------------------------------------------------------------------------------


class Server:
    def __init__(self, data, *flags):
        self.data = data
        self.flags = flags
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [BIN, "serve", "-httpListenAddr=127.0.0.1:0", f"-storageDataPath={self.data}", *self.flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        line = self.process.stdout.readline().decode()
        if not line:
            raise SystemExit(f"the server did not start: exit {self.process.wait()}")
        self.host = urllib.parse.urlparse(line.split()[-1]).netloc

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        return self.process.wait(30)

    def request(self, method, path, body=None, headers=None, timeout=30):
        c = http.client.HTTPConnection(self.host, timeout=timeout)
        try:
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read()
        finally:
            c.close()

    def get(self, path, **args):
        if args:
            path += "?" + urllib.parse.urlencode(args, doseq=True)
        return self.request("GET", path)

    def json(self, path, **args):
        status, _, body = self.get(path, **args)
        return json.loads(body) if status == 200 else {"http": status, "body": body.decode()}

    def write(self, body, path="/insert/0/prometheus/api/v1/write", headers=None):
        h = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        h.update(headers or {})
        return self.request("POST", path, snappy(body), h)


def exported(server, match, base="/select/0/prometheus", **args):
    status, _, body = server.get(base + "/api/v1/export", **{"match[]": match, **args})
    if status != 200:
        return {"http": status, "body": body.decode()}
    out = {}
    for line in body.splitlines():
        row = json.loads(line)
        key = json.dumps(row["metric"], sort_keys=True)
        out.setdefault(key, []).extend(zip(row["timestamps"], row["values"]))
    return {k: sorted(v) for k, v in out.items()}


def key(**labels):
    return json.dumps(labels, sort_keys=True)


NOW = int(time.time()) * 1000


# --- checks ----------------------------------------------------------------------------------------------------------------


def test_health(s):
    check("health", s.get("/health")[::2], (200, b"OK"))
    status, headers, body = s.get("/nowhere//at/all")
    check("unknown path", (status, body), (400, b'unsupported path requested: "/nowhere/at/all"\n'))
    check_true("X-Server-Hostname", headers.get("X-Server-Hostname"))
    check("Vary", headers.get("Vary"), "Accept-Encoding")
    check("ready", s.get("/-/ready")[0], 200)
    check("ping", s.get("/ping")[0], 204)
    check("preflight", s.request("OPTIONS", "/api/v1/query")[0], 204)
    check("delete is POST only", s.get("/delete/0/prometheus/api/v1/admin/tsdb/delete_series")[0], 405)


def test_remote_write(s):
    body = series({"__name__": "rw", "job": "a"}, [(NOW - 15000, 1.0), (NOW, 0.1 + 0.2)])
    check("remote write", s.write(body)[0], 204)
    check("read back", exported(s, "rw"), {key(__name__="rw", job="a"): [(NOW - 15000, 1), (NOW, 0.1 + 0.2)]})
    status, _, got = s.request("POST", "/insert/0/prometheus/api/v1/write?get_vm_proto_version=1")
    check("protocol probe", (status, got), (200, b"1"))
    check("extra_label", s.write(series({"__name__": "rwx", "tenant": "theirs"}, [(NOW, 1)]),
                                 "/insert/0/prometheus/api/v1/write?extra_label=tenant=mine")[0], 204)
    check("extra_label wins", list(exported(s, "rwx")), [key(__name__="rwx", tenant="mine")])
    status, _, got = s.write(b"\x0a\x05\x0a\x09abc")
    check("malformed protobuf", (status, b"at byte 2" in got), (400, True))
    check("garbage", s.request("POST", "/api/v1/write", b"\xff\xff\xff")[0], 400)
    huge = varint(1 << 30) + b"\x00"
    check("a lie about the size", s.request("POST", "/api/v1/write", huge)[0] in (400, 413), True)
    check("tenants are apart", exported(s, "rw", "/select/7/prometheus"), {})
    check("single-node form", exported(s, "rw", ""), exported(s, "rw"))


def test_remote_write_2(s):
    strings = ["", "__name__", "rw2", "job", "a"]
    body = b"".join(field(4, t.encode()) for t in strings)
    sample = field(2, b"\x09" + struct.pack("<d", 2.5) + b"\x10" + varint(NOW))
    body += field(5, field(1, bytes([1, 2, 3, 4])) + sample)
    status, headers, _ = s.write(body, headers={"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"})
    check("remote write 2.0", (status, headers.get("X-Prometheus-Remote-Write-Samples-Written")), (204, "1"))
    check("2.0 read back", exported(s, "rw2"), {key(__name__="rw2", job="a"): [(NOW, 2.5)]})
    check("unknown message", s.write(body, headers={"Content-Type": "application/x-protobuf;proto=x.y.Z"})[0], 415)


def test_import(s):
    lines = json.dumps({"metric": {"__name__": "imp", "q": 'a"b\\c\n\u00e9'}, "values": [1, 2.5, None], "timestamps": [NOW - 2000, NOW - 1000, NOW]})
    check("import", s.request("POST", "/api/v1/import", lines.encode())[0], 204)
    got = exported(s, "imp")
    check("import read back", got, {key(__name__="imp", q='a"b\\c\n\u00e9'): [(NOW - 2000, 1), (NOW - 1000, 2.5), (NOW, None)]})
    packed = gzip.compress(lines.replace("imp", "impgz").encode())
    check("gzip import", s.request("POST", "/insert/0/prometheus/api/v1/import", packed, {"Content-Encoding": "gzip"})[0], 204)
    check("gzip read back", len(exported(s, "impgz")), 1)
    c = http.client.HTTPConnection(s.host, timeout=30)
    text = lines.replace("imp", "impch").encode()
    c.request("POST", "/api/v1/import", iter([text[:50], text[50:]]))
    r = c.getresponse()
    r.read()
    check("chunked import", r.status, 204)
    c.request("GET", "/health")
    check("keep-alive", c.getresponse().read(), b"OK")
    c.close()
    check("chunked read back", len(exported(s, "impch")), 1)
    check("bad import", s.request("POST", "/api/v1/import", b"nonsense\n")[0], 400)
    text = b'# TYPE txt gauge\n# HELP txt some text\ntxt{a="b"} 1.5 %d\nbroken{ 1\n' % NOW
    check("text import", s.request("POST", "/api/v1/import/prometheus", text)[0], 204)
    check("text read back", exported(s, "txt"), {key(__name__="txt", a="b"): [(NOW, 1.5)]})
    check("curl's form type", s.request("POST", "/api/v1/import/prometheus", b"txt2 7\n", {"Content-Type": "application/x-www-form-urlencoded"})[0], 204)
    check("form type read back", len(exported(s, "txt2")), 1)
    check("pushgateway path", s.request("POST", "/api/v1/import/prometheus/metrics/job/cron/instance@base64/aG9zdA==", b"pushed 1\n")[0], 200)
    check("pushgateway labels", list(exported(s, "pushed")), [key(__name__="pushed", job="cron", instance="host")])
    meta = s.json("/api/v1/metadata", metric="txt")
    check("metadata", meta.get("data"), {"txt": [{"type": "gauge", "help": "some text"}]})


def test_query(s):
    s.write(b"".join(series({"__name__": "q", "i": str(i), "tenant": "x" if i < 2 else "y"}, [(NOW - 60000 + k * 15000, i * 10 + k) for k in range(5)])
                     for i in range(4)))
    t = NOW / 1000
    got = s.json("/select/0/prometheus/api/v1/query", query='q{i="1"}', time=t, nocache=1)
    check("instant query", (got.get("status"), got.get("isPartial"), got.get("data")),
          ("success", False, {"resultType": "vector", "result": [{"metric": {"__name__": "q", "i": "1", "tenant": "x"}, "value": [int(t), "14"]}]}))
    check("stats", got.get("stats", {}).get("seriesFetched"), "1")
    check("single-node form has no isPartial", "isPartial" in s.json("/api/v1/query", query="q", time=t), False)
    status, _, body = s.request("POST", "/select/0/prometheus/api/v1/query", urllib.parse.urlencode({"query": "sum(q)", "time": t, "nocache": "1"}),
                                {"Content-Type": "application/x-www-form-urlencoded"})
    result = json.loads(body).get("data", {}).get("result", [{}]) if status == 200 else body
    check("POST form", result, [{"metric": {}, "value": [int(t), "76"]}])
    got = s.json("/api/v1/query_range", query='q{i="2"}', start=t - 60, end=t, step=15, nocache=1)
    check("range query", got.get("data", {}).get("result"),
          [{"metric": {"__name__": "q", "i": "2", "tenant": "y"}, "values": [[int(t) - 60 + 15 * k, str(20 + k)] for k in range(5)]}])
    got = s.json("/api/v1/query", query='q{i="3"}[31s]', time=t)
    check("raw samples", got.get("data", {}).get("result"),
          [{"metric": {"__name__": "q", "i": "3", "tenant": "y"}, "values": [[int(t) - 30 + 15 * k, str(32 + k)] for k in range(3)]}])
    check("raw samples carry no stats", "stats" in got, False)
    got = s.json("/api/v1/query", query="sum(", time=t)
    check("parse error", (got.get("http"), '"errorType":"400"' in got.get("body", "")), (400, True))
    check("missing query", s.json("/api/v1/query").get("http"), 400)


def names(result):
    return sorted(r["metric"].get("i", "") for r in result.get("data", {}).get("result", []))


def test_isolation(s):
    t = NOW / 1000
    base = "/select/0/prometheus/api/v1/"
    x, y = '{tenant="x"}', '{tenant="y"}'
    def q(**args):
        return names(s.json(base + "query", query="q", time=t, nocache=1, **args))
    check("extra_filters", q(extra_filters=x), ["0", "1"])
    check("extra_filters repeated is OR", q(extra_filters=[x, y]), ["0", "1", "2", "3"])
    check("another spelling cannot widen", q(**{"extra_filters": x, "extra_filters[]": y}), [])
    check("extra_label is AND", q(extra_label=["tenant=x", "i=1"]), ["1"])
    check("extra_label and filters", q(extra_label="tenant=x", extra_filters=y), [])
    args = urllib.parse.urlencode({"extra_filters": x})
    form = urllib.parse.urlencode({"query": "q", "time": t, "nocache": "1", "extra_filters": y})
    _, _, body = s.request("POST", base + "query?" + args, form, {"Content-Type": "application/x-www-form-urlencoded"})
    check("the body cannot widen the URL's", names(json.loads(body)), [])
    check("export", len(exported(s, "q", extra_filters=x)), 2)
    check("series", len(s.json(base + "series", **{"match[]": "q", "extra_filters": x}).get("data", [])), 2)
    check("label values", s.json(base + "label/i/values", extra_filters=x).get("data"), ["0", "1"])
    check("federate", s.get("/select/0/prometheus/federate", **{"match[]": "q", "extra_filters": x})[2].count(b"\n"), 2)


def test_labels(s):
    data = s.json("/api/v1/labels", **{"match[]": "q"}).get("data")
    check("labels", data, ["__name__", "i", "tenant"])
    check("values", s.json("/api/v1/label/i/values", **{"match[]": "q"}).get("data"), ["0", "1", "2", "3"])
    check("limit", s.json("/api/v1/label/i/values", limit=2, **{"match[]": "q"}).get("data"), ["0", "1"])
    check("series needs match[]", s.json("/api/v1/series").get("http"), 400)
    check_true("tsdb", s.json("/api/v1/status/tsdb").get("data", {}).get("totalSeries", 0) >= 4)
    check_true("top queries", s.json("/api/v1/status/top_queries").get("topByCount"))
    check("active queries", s.json("/api/v1/status/active_queries").get("status"), "ok")
    check("buildinfo", s.json("/api/v1/status/buildinfo"), {"status": "success", "data": {"version": "2.24.0"}})
    check("rules", s.json("/select/0/prometheus/api/v1/rules").get("data"), {"groups": []})
    check("exemplars", s.json("/api/v1/query_exemplars", query="q"), {"status": "success", "data": []})


def test_big_export(s):
    n, rows = 40, 3000
    start = NOW - rows * 1000
    body = b"".join(series({"__name__": "big", "i": f"{i:03}"}, [(start + k * 1000, i + k / 7) for k in range(rows)]) for i in range(n))
    check("big write", s.write(body)[0], 204)
    status, headers, plain = s.get("/api/v1/export", **{"match[]": "big", "start": (start - 1000) / 1000})
    check("big export", (status, headers.get("Transfer-Encoding")), (200, "chunked"))
    got = {}
    for line in plain.splitlines():
        row = json.loads(line)
        got.setdefault(row["metric"]["i"], []).extend(row["values"])
    check("every value bit for bit", got, {f"{i:03}": [i + k / 7 for k in range(rows)] for i in range(n)})
    status, headers, packed = s.request("POST", "/api/v1/export", urllib.parse.urlencode({"match[]": "big", "start": (start - 1000) / 1000}),
                                        {"Accept-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"})
    check("gzip when asked", headers.get("Content-Encoding"), "gzip")
    check("gzip content", sorted(zlib.decompress(packed, 31).splitlines()), sorted(plain.splitlines()))


def test_limits_and_clients(s):
    c = http.client.HTTPConnection(s.host, timeout=30)
    c.putrequest("POST", "/api/v1/write")
    c.putheader("Content-Length", str(10 << 30))
    c.endheaders()
    check("declared size over the limit", c.getresponse().status, 413)
    c.close()
    check("over the label limit is dropped", s.write(series({"__name__": "many", **{f"l{i}": "v" for i in range(80)}}, [(NOW, 1)]))[0], 204)
    check("and not stored", exported(s, "many"), {})
    raw = socket.create_connection(s.host.split(":"))
    raw.sendall(b"GET /api/v1/export?match[]=big&start=0 HTTP/1.1\r\nHost: x\r\n\r\n")
    raw.recv(100)
    raw.close()  # in the middle of a stream
    raw = socket.create_connection(s.host.split(":"))
    raw.sendall(b"NONSENSE\r\n\r\n")
    raw.close()
    def hammer():
        for _ in range(20):
            s.json("/api/v1/query", query="sum(q)", time=NOW / 1000)
    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("still healthy", s.get("/health")[0], 200)


def test_metrics(s):
    status, headers, body = s.get("/metrics")
    lines = body.decode().splitlines()
    keys = [l.rsplit(" ", 1)[0] for l in lines]
    check("metrics", status, 200)
    check("each series once", len(keys), len(set(keys)))
    bad = [l for l in lines if not l or " " not in l or l.rsplit(" ", 1)[1] in ("", "nan")]
    check("well-formed", bad, [])
    for name in ("vm_app_uptime_seconds", "process_resident_memory_bytes", "vm_rows_added_to_storage_total", "vm_concurrent_insert_capacity",
                 'vm_cache_entries{type="storage/hour_metric_ids"}', "vm_http_requests_all_total"):
        check_true(f"metric {name}", name in keys)
    check_true("flags", b'-retentionPeriod="' in s.get("/flags")[2])


def test_maintenance(s):
    check("flush", s.get("/internal/force_flush")[0], 200)
    check("after the flush", len(exported(s, "q")), 4)
    status, _, body = s.get("/snapshot/create")
    name = json.loads(body).get("snapshot") if status == 200 else body
    check_true("snapshot", status == 200 and name, body)
    check("snapshot list", s.json("/snapshot/list").get("snapshots"), [name])
    check("unknown snapshot", s.get("/snapshot/delete", snapshot="../x")[0], 500)
    check("snapshot delete", s.json("/snapshot/delete", snapshot=name).get("status"), "ok")
    check("admin tenants", "0:0" in s.json("/admin/tenants").get("data", []), True)
    s.write(series({"__name__": "gone"}, [(NOW, 1)]))
    check("delete", s.request("POST", "/delete/0/prometheus/api/v1/admin/tsdb/delete_series?match[]=gone")[0], 204)
    check("deleted", exported(s, "gone"), {})


def test_kill(s):
    """What was acknowledged before kill -9 is there afterwards."""
    acked = []
    stop = threading.Event()
    def writer(w):
        k = 0
        while not stop.is_set():
            try:
                if s.write(series({"__name__": "kill", "w": str(w)}, [(NOW - 100000 + k, k + w / 8)]))[0] == 204:
                    acked.append((w, NOW - 100000 + k, k + w / 8))
            except OSError:
                return
            k += 1
    threads = [threading.Thread(target=writer, args=(w,)) for w in range(4)]
    for t in threads:
        t.start()
    time.sleep(1.0)
    s.stop(signal.SIGKILL)
    stop.set()
    for t in threads:
        t.join()
    before = list(acked)
    s.start()
    got = {(json.loads(k)["w"], ms): v for k, rows in exported(s, "kill").items() for ms, v in rows}
    missing = [a for a in before if got.get((str(a[0]), a[1])) != a[2]]
    check_true("some were written", len(before) > 10, len(before))
    check_true("nothing acknowledged is lost", not missing, f"{len(missing)} of {len(before)}, first {missing[:3]}")
    check("older data is there too", len(exported(s, "q")), 4)


def main():
    if not os.access(BIN, os.X_OK):
        print(f"no program at {BIN}; build it first")
        return 1
    data = tempfile.mkdtemp(prefix="kofstore-e2e-")
    server = Server(data)
    try:
        for test in (test_health, test_remote_write, test_remote_write_2, test_import, test_query, test_isolation, test_labels, test_big_export,
                     test_limits_and_clients, test_metrics, test_maintenance, test_kill):
            try:
                test(server)
            except Exception as e:  # a check that could not even run
                check_true(f"{test.__name__}: {type(e).__name__}: {e}", False)
                if server.process.poll() is not None:
                    print(f"the server ended with {server.process.returncode}")
                    server.start()
        check("clean stop", server.stop(), 0)
        server.start()
        check("after a clean restart", len(exported(server, "q")), 4)
        check("unknown flag", subprocess.run([BIN, "-retentionPeriodd=1"], capture_output=True).returncode, 2)
    finally:
        with contextlib.suppress(Exception):
            server.process.kill()
        shutil.rmtree(data, ignore_errors=True)
    ingest_lib.finish()


if __name__ == "__main__":
    sys.exit(main())
