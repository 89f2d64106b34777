#!/usr/bin/env python3
"""Deletion and retention of logs as clients see them: what is deleted is hidden when the task ends and stays so through kill -9 and
restarts, queries and tails in flight go on, merges free the space; stores with retention, size and listener of their own."""
import json
import os
import signal
import sys
import tempfile
import threading
import time

from logs_lib import *  # noqa: F401,F403
import ingest_lib
from ingest_lib import check, check_true, finish, free_port, started

DAY = 86400


def serve(data, port, *flags):
    argv = [ingest_lib.BIN, "serve", f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=FATAL",
            "-delete.enable", *flags]
    return started(argv, port, what="kofstore")


def put(s, items, prefix="", headers=None):
    body = "".join(json.dumps(i) + "\n" for i in items).encode()
    status, _, answer = s.http(prefix + "/insert/jsonline?_stream_fields=app", body, headers=headers)
    check("insert", status, 200)


def row(i, app="a", age_s=600, **more):
    return {"_time": int((time.time() - age_s) * 1e9) + i, "_msg": f"row {i} of {app} " + f"{i * 7919 % 10007:05} " * 20, "app": app, "n": str(i), **more}


def count(s, query="*", prefix="", headers=None):
    status, _, body = s.http(prefix + "/select/logsql/query", args={"query": query + " | count() c"}, headers=headers)
    check("count answers", status, 200)
    return int(json.loads(body)["c"])


def task(s, text, prefix="", headers=None):
    """Starts a deletion and waits for its end."""
    status, _, body = s.http(prefix + "/delete/run_task", args={"filter": text}, headers=headers)
    check(f"task {text}", status, 200)
    number = json.loads(body)["task_id"]
    for _ in range(600):
        if number not in s.http(prefix + "/delete/active_tasks", headers=headers)[2].decode():
            return number
        time.sleep(0.05)
    check_true("the task ends", False)


def settle(s):
    for path in ("/internal/force_flush", "/internal/force_merge"):
        s.http(path)


def test_hidden_at_once_and_for_good(data):
    port = free_port()
    other = {"AccountID": "3", "ProjectID": "4"}
    with serve(data, port) as s:
        put(s, [row(i) for i in range(20000)])
        settle(s)
        put(s, [row(i, "b") for i in range(3000)])  # still in memory
        put(s, [row(i) for i in range(500)], headers=other)
        check("before", (count(s), count(s, headers=other)), (23000, 500))
        task(s, '{app="a"} "row 1"')
        gone = 1  # the phrase, not the prefix
        check("a phrase", count(s), 23000 - gone)
        task(s, "n:range[5000, 9999]")
        gone += 5000
        check("a range", (count(s), count(s, "n:range[5000, 9999]")), (23000 - gone, 0))
        task(s, '{app="b"} n:<100')
        gone += 100
        check("rows in memory", (count(s), count(s, '{app="b"}')), (23000 - gone, 2900))
        check("another tenant", count(s, headers=other), 500)
        hits = json.loads(s.http("/select/logsql/hits", args={"query": "*", "step": "1d", "start": "2d"})[2])
        check("hits", sum(h["total"] for h in hits["hits"]), 23000 - gone)
        check("values", b'"5000"' in s.http("/select/logsql/field_values", args={"query": "*", "field": "n", "limit": 100000})[2], False)
        put(s, [row(5000)])
        check("what comes later stays", count(s, "n:5000"), 1)
        s.proc.send_signal(signal.SIGKILL)
        s.proc.wait()
    for how in ("after kill -9", "after a clean stop"):
        with serve(data, port) as s:
            check(how, (count(s), count(s, "n:range[5000, 9999]"), count(s, headers=other)), (23001 - gone, 1, 500))
    with serve(data, port) as s:
        s.http("/internal/force_flush")
        before = metric(s, 'vl_data_size_bytes{store="logs",type="storage"}')
        s.http("/internal/force_merge")
        time.sleep(0.2)
        after = metric(s, 'vl_data_size_bytes{store="logs",type="storage"}')
        check_true("merging frees the space", 0 < after < 0.85 * before, f"{before} -> {after}")
        check("rows on disk", metric(s, 'vl_storage_rows{store="logs",type="storage/big"}'), 23001 - gone + 500)
        check("answers as before", (count(s), count(s, "n:range[5000, 9999]"), count(s, headers=other)), (23001 - gone, 1, 500))
        tombs = os.path.join(data, "logs/logs/tombs")
        check("no lists of deleted rows are left", os.listdir(tombs), [])


def test_kill_while_deleting(data):
    """Killed at some moment of a deletion: all of it is gone or nothing, and the rest is there."""
    port = free_port()
    left = 4000
    with serve(data, port) as s:
        put(s, [row(i) for i in range(left)])
    for k in range(6):
        with serve(data, port) as s:
            s.http("/delete/run_task", args={"filter": f"n:range[{k * 500}, {k * 500 + 499}]"})
            time.sleep(0.004 * k)
            s.proc.send_signal(signal.SIGKILL)
            s.proc.wait()
        with serve(data, port) as s:
            some = count(s, f"n:range[{k * 500}, {k * 500 + 499}]")
            check_true("all or nothing", some in (0, 500), str(some))
            left -= 500 - some
            check("the rest is there", count(s), left)


def test_in_flight(data):
    port = free_port()
    with serve(data, port) as s:
        put(s, [row(i) for i in range(30000)])
        settle(s)
        seen, stop, tail = set(), threading.Event(), []

        def query():
            while not stop.is_set():
                status, _, body = s.http("/select/logsql/query", args={"query": "* | fields n", "limit": "40000"})
                seen.add((status, len(body.splitlines())))

        def follow():
            import urllib.request
            with urllib.request.urlopen(s.base + "/select/logsql/tail?query=new", timeout=60) as r:
                while not stop.is_set():
                    line = r.readline()
                    if not line:
                        return
                    if line.strip():
                        tail.append(json.loads(line)["n"])

        threads = [threading.Thread(target=query) for _ in range(3)] + [threading.Thread(target=follow, daemon=True)]
        for t in threads:
            t.start()
        time.sleep(0.5)
        steps = [30000]
        for k in range(5):
            put(s, [row(100000 + k, age_s=1, _msg="a new row")])
            task(s, f"n:range[{k * 3000}, {k * 3000 + 2999}]")
            steps.append(steps[-1] - 3000)
        settle(s)
        time.sleep(6)  # tails give rows when they are some seconds old
        stop.set()
        put(s, [row(200000, age_s=1, _msg="a new row")])
        for t in threads[:3]:
            t.join()
        check("queries answer", {c for c, _ in seen}, {200})
        whole = {a + k for a in steps for k in range(7)}  # the row after the end may be seen by the last query
        check_true("each answer is of one moment", {n for _, n in seen} <= whole, str(sorted(seen)))
        check("the tail sees each new row once", sorted(tail)[:5], [str(100000 + k) for k in range(5)])


def test_refused(data):
    port = free_port()
    with serve(data, port) as s:
        for args in ({}, {"filter": ""}, {"filter": "  "}, {"filter": "(("}, {"filter": "n:in(* | fields n)"}, {"filter": "* | count()"}):
            check(f"refused {args}", s.http("/delete/run_task", args=args)[0], 400)
        check("no number", s.http("/delete/stop_task")[0], 400)
        check("an unknown number", s.http("/delete/stop_task", args={"task_id": "17"})[2], b'{"status":"ok"}')
        check("nothing runs", json.loads(s.http("/delete/active_tasks")[2]), [])
    with ingest_lib.kofstore("-loggerLevel=FATAL") as s:
        for path in ("run_task?filter=a", "active_tasks", "stop_task?task_id=1"):
            check(f"off: {path}", s.http("/delete/" + path)[0], 400)


def test_stores(data):
    """KOF's audit beside logs: retention, deletes and listener of its own."""
    port, audit, narrow = free_port(), free_port(), free_port()
    flags = ["-logs.retentionPeriod=7d", "-logs.store=audit:1y", "-logs.store=small:30d:1", f"-logs.listenAddr=audit=127.0.0.1:{audit}",
             f"-logs.listenAddr=logs/select=127.0.0.1:{narrow}", '-logs.retentionFilter={app="noise"}:2d',
             '-logs.retentionFilter=audit={app="visits"}:3d', '-logs.retentionFilter={app="kept"}:20d']
    with serve(data, port, *flags) as s:
        direct, reads = ingest_lib.Server(audit), ingest_lib.Server(narrow)
        old = [row(1, app, 5 * DAY) for app in ("x", "noise", "visits")] + [row(2, app, 60) for app in ("x", "noise", "visits")]
        put(s, old + [row(3, "x", 10 * DAY), row(3, "kept", 10 * DAY), row(3, "kept", 25 * DAY)])
        put(direct, old + [row(3, "x", 200 * DAY), row(4, "x", 400 * DAY)])
        for s_, at, want in ((s, "", {"x": 2, "noise": 1, "visits": 2, "kept": 1}), (direct, "", {"x": 3, "noise": 1, "visits": 1}),
                             (s, "/store/audit", {"x": 3, "noise": 1, "visits": 1}), (reads, "", {"x": 2, "noise": 1, "visits": 2, "kept": 1})):
            for app, n in want.items():
                check(f"{at or s_.base} {app}", count(s_, f'{{app="{app}"}}', at), n)
        check("a listener for reading takes no rows", reads.http("/insert/jsonline", b"{}\n")[0] in (400, 403, 404), True)
        task(direct, '{app="x"} n:1')
        check("deleted there", (count(direct, '{app="x"}'), count(s, '{app="x"}')), (2, 2))
        task(s, '{app="x"}')
        check("deleted here", (count(direct, '{app="x"}'), count(s, '{app="x"}')), (2, 0))
        for day in range(1, 9):
            put(s, [row(i, "x", day * DAY) for i in range(200)], "/store/small")
            s.http("/internal/force_flush")
        for _ in range(100):
            if count(s, "*", "/store/small") == 400:
                break
            time.sleep(0.1)
        check("the size limit keeps two days", count(s, "*", "/store/small"), 400)
        check("of that store alone", (count(direct), count(s)), (4, 4))
    with serve(data, port, *flags) as s:
        direct = ingest_lib.Server(audit)
        check("after a restart", (count(direct, '{app="x"}'), count(s, '{app="x"}'), count(s, "*", "/store/small")), (2, 0, 400))
    for bad in ("-logs.retentionFilter=none={a=\"b\"}:1d", "-logs.retentionFilter={a=}:1d", "-logs.store=x:1y:huge", "-logs.store=x:soon"):
        import subprocess
        r = subprocess.run([ingest_lib.BIN, "serve", f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", bad],
                           capture_output=True, text=True, timeout=30)
        check_true(f"refused {bad}", r.returncode != 0 and bad.split("=")[0] in r.stderr + r.stdout, r.stderr + r.stdout)


for name, test in list(globals().items()):
    if name.startswith("test_") and (len(sys.argv) < 2 or sys.argv[1] in name):
        with tempfile.TemporaryDirectory() as folder:
            test(folder)
finish()
