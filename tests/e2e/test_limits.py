#!/usr/bin/env python3
"""Hostile and unlucky conditions on the real server: greedy and stalled clients, short memory, a full disk, stops under load.

Standard library only. Every answer to a write must be 204 (then it is kept) or a status its sender retries: 503 with Retry-After."""
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from ingest_lib import BIN, check, check_true, finish, free_port, started


@contextlib.contextmanager
def kofstore(data, *flags):
    port = free_port()
    argv = [BIN, f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", *flags]
    with started(argv, port) as server:
        server.port = port
        yield server


def past(seconds=60):
    """A time that queries count as complete."""
    return int((time.time() - seconds) * 1000)


def put(server, text, path="/api/v1/import/prometheus", **args):
    return server.http(path, body=text.encode(), args=args, method="POST")


def raw_request(port, text):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(text.encode())
    return s


def values(server, query, prefix=""):
    status, _, body = server.http(prefix + "/api/v1/query", args={"query": query})
    assert status == 200, (status, body)
    return json.loads(body)["data"]["result"]


def stop(server, timeout=30):
    """Exit code after SIGTERM and the seconds it took; None when it had to be killed."""
    began = time.time()
    server.proc.send_signal(signal.SIGTERM)
    try:
        return server.proc.wait(timeout), time.time() - began
    except subprocess.TimeoutExpired:
        server.proc.kill()
        return None, time.time() - began


def test_claimed_bodies(data):
    """A Content-Length alone takes nothing from the budget for bodies."""
    with kofstore(data, "-memory.allowedBytes=200MB") as server:
        held = [raw_request(server.port, "POST /api/v1/import HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n{")
                for _ in range(8)]
        time.sleep(0.3)
        check("write beside greedy connections", put(server, "a 1\n")[0], 204)
        s = raw_request(server.port, f"POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: {80 << 20}\r\n\r\n")
        check("a write larger than any write may be", s.recv(100).split(b" ")[1], b"413")
        held.append(s)
        for s in held:
            s.close()


def test_idle_connections(data):
    with kofstore(data) as server:
        held = [raw_request(server.port, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(1000)]
        slow = [raw_request(server.port, "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nX-Slow: ") for _ in range(200)]
        began = time.time()
        check("write beside idle connections", put(server, "a 1\n")[0], 204)
        check("query beside idle connections", server.http("/api/v1/query", args={"query": "1"})[0], 200)
        check_true("quick beside idle connections", time.time() - began < 3)
        for s in held + slow:
            s.close()


def long_series(server, n=400000):
    t0 = int(time.time()) * 1000 - n * 10 - 60000
    rnd = random.Random(7)
    for at in range(0, n, 50000):
        row = {"metric": {"__name__": "long"}, "values": [rnd.random() for _ in range(50000)],
               "timestamps": [t0 + (at + i) * 10 for i in range(50000)]}
        status, _, body = server.http("/api/v1/import", body=json.dumps(row).encode(), method="POST")
        assert status == 204, (status, body)


def test_stalled_exports(data):
    """Clients that do not read their exports hold neither the queries nor the stop."""
    with kofstore(data, "-search.maxConcurrentRequests=2", "-http.maxGracefulShutdownDuration=2s") as server:
        long_series(server)
        path = "/api/v1/export?match[]=long&start=0"
        stalled = []
        for _ in range(6):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", server.port))
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            stalled.append(s)
        time.sleep(1)
        began = time.time()
        status = server.http("/api/v1/query", args={"query": "count(long)"})[0]
        check("query beside stalled exports", status, 200)
        check_true("quick beside stalled exports", time.time() - began < 3, f"{time.time() - began:.1f}s")
        code, took = stop(server)
        check("exit beside stalled exports", code, 0)
        check_true("stops in time beside stalled exports", took < 10, f"{took:.1f}s")
        for s in stalled:
            s.close()


def test_short_memory(data):
    """New series beyond the memory are refused with 503, never 4xx; known ones go on."""
    with kofstore(data, "-memory.allowedBytes=24MB") as server:
        seen = {}
        check("first write", put(server, "known 1\n")[0], 204)
        for batch in range(60):
            text = "".join(f'm{{a="{"x" * 60}{batch}",b="{i}"}} 1\n' for i in range(2000))
            status, headers, _ = put(server, text)
            seen[status] = seen.get(status, 0) + 1
            if status != 204:
                check("status when memory is short", status, 503)
                check("Retry-After when memory is short", headers.get("Retry-After"), "10")
                break
            time.sleep(0.1)
        check_true("memory ran short at all", set(seen) - {204}, seen)
        check("health when memory is short", server.http("/health")[0], 200)


def test_extra_labels(data):
    """Label sets with empty values differ behind them too, and a tenant's write stays the tenant's."""
    with kofstore(data) as server:
        path = "/insert/multitenant/prometheus/api/v1/import/prometheus"
        for b in ("1", "2"):
            args = [("extra_label", "a="), ("extra_label", "b=" + b)]
            status, _, _ = server.http(path + "?" + urllib.parse.urlencode(args), body=f"x 1 {past()}\n".encode(), method="POST")
            check("write with extra labels", status, 204)
        got = sorted(r["metric"].get("b", "") for r in values(server, "last_over_time(x[5m])", "/select/0/prometheus"))
        check("series by extra labels", got, ["1", "2"])


def test_read_only(data):
    with kofstore(data) as server:
        check("write", put(server, f"kept 1 {past()}\n")[0], 204)
        time.sleep(1.1)
    with kofstore(data, "-storage.minFreeDiskSpaceBytes=1000TB") as server:
        status, headers, body = put(server, "more 1\n")
        check("write when read-only", status, 503)
        check("Retry-After when read-only", headers.get("Retry-After"), "10")
        check_true("the text says why", b"minFreeDiskSpaceBytes" in body, body)
        check("reads when read-only", len(values(server, "last_over_time(kept[10m])")), 1)
        check("exit when read-only", stop(server)[0], 0)


def test_full_disk(data):
    """Writes on a small file system until it is full: only 204 and 503, and everything acknowledged is there afterwards."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data], stderr=subprocess.DEVNULL).returncode:
        print("skipped: full disk (cannot mount a tmpfs)")
        return
    try:
        acknowledged, seen, t0 = 0, {}, int(time.time()) * 1000 - 3000000
        flags = ["-storage.minFreeDiskSpaceBytes=1", "-wal.segmentBytes=4MiB", "-wal.maxReplayBytes=8MiB"]
        rnd = random.Random(3)
        with kofstore(data, *flags) as server:
            for batch in range(700):
                text = "".join(f'full{{i="{i}"}} {rnd.random()} {t0 + batch * 1000}\n' for i in range(5000))
                status, headers, body = put(server, text)
                seen[status] = seen.get(status, 0) + 1
                if status == 204:
                    acknowledged += 1
                    continue
                if status != 503:
                    check("status when the disk is full", (status, body[:200]), 503)
                    break
                check("Retry-After when the disk is full", headers.get("Retry-After"), "10")
                if seen[503] >= 5:
                    break
            check_true("the disk was full at all", seen.get(503), seen)
            check("reads on a full disk", len(values(server, "count(last_over_time(full[2h]))")), 1)
            stop(server)
        for _ in range(2):
            with kofstore(data, *flags) as server:
                got = values(server, "min(count_over_time(full[2h]))")
                least = float(got[0]["value"][1]) if got else 0
                check_true("acknowledged samples are there", least >= acknowledged, f"{least} of {acknowledged}")
                stop(server)
    finally:
        subprocess.run(["umount", "-l", data])


def test_stop_under_load(data):
    """What was acknowledged before, during and after SIGTERM is there; nothing else fails than by refusal."""
    t0 = int(time.time()) * 1000 - 3600000
    done = {}
    odd = []

    def writer(k):
        n = 0
        while True:
            try:
                status = put(server, f'load{{k="{k}"}} {n} {t0 + n}\n')[0]
            except OSError:
                return
            if status == 204:
                done[k] = n = n + 1
            elif status != 503:
                odd.append(status)
                return
            else:
                return

    with kofstore(data) as server:
        threads = [threading.Thread(target=writer, args=(k,)) for k in range(8)]
        for t in threads:
            t.start()
        time.sleep(1.5)
        code, took = stop(server)
        for t in threads:
            t.join()
        check("exit under load", code, 0)
        check_true("stops in time under load", took < 12, f"{took:.1f}s")
    check("odd statuses under load", odd, [])
    with kofstore(data) as server:
        for k in range(8):
            got = values(server, f'count_over_time(load{{k="{k}"}}[2h])')
            have = int(got[0]["value"][1]) if got else 0
            check_true(f"acknowledged by writer {k}", done.get(k, 0) <= have <= done.get(k, 0) + 1, f"{have} of {done.get(k)}")


def test_lost_manifest(data):
    with kofstore(data) as server:
        check("write", put(server, f"a 1 {past()}\n")[0], 204)
        stop(server)
    os.rename(f"{data}/MANIFEST", f"{data}/MANIFEST.lost")
    run = subprocess.run([BIN, f"-storageDataPath={data}", "-httpListenAddr=127.0.0.1:0"], capture_output=True, timeout=30)
    check("exit without manifest", run.returncode, 1)
    check_true("the text names the manifest", b"MANIFEST" in run.stderr, run.stderr[-300:])
    os.rename(f"{data}/MANIFEST.lost", f"{data}/MANIFEST")
    with kofstore(data) as server:
        check("data after putting it back", len(values(server, "last_over_time(a[10m])")), 1)


def test_flags(data):
    """Flags without effect say so; nonsense is refused."""
    run = subprocess.run([BIN, f"-storageDataPath={data}", "-memory.allowedPercent=0", "-maxIngestionRate=5", "-finalMergeDelay=0s"],
                         capture_output=True, timeout=30)
    check("exit with a share of memory of 0", run.returncode, 1)
    text = run.stderr + run.stdout
    check_true("the ignored flag is named", b"without effect: -maxIngestionRate;" in text, text[-300:])
    check_true("the share is named", b"-memory.allowedPercent=0" in text, text[-300:])


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for name, test in list(globals().items()):
        if name.startswith("test_") and (not wanted or name[5:] in wanted):
            with tempfile.TemporaryDirectory() as folder:
                test(folder)
    finish()
