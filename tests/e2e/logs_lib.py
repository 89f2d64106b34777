"""Shared by the tests of log ingestion: a server with log stores, rows back through LogsQL."""
import json
import time

from ingest_lib import *  # noqa: F401,F403
import ingest_lib

NOW_S = int(time.time()) - 600
NOW = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_S))
NOW_NS = NOW_S * 10**9


def logs_server(*flags):
    return ingest_lib.kofstore("-loggerLevel=ERROR", *flags)


def rows(server, query="*", prefix="", headers=None, wait_for=None, timeout=15):
    """Rows as dicts, ordered by _time and _msg; waits until there are as many as asked for."""
    end = time.monotonic() + timeout
    while True:
        status, _, body = server.http(prefix + "/select/logsql/query", args={"query": query}, headers=headers)
        if status != 200:
            raise RuntimeError(f"query {query}: {status} {body[:300]}")
        found = [json.loads(line) for line in body.splitlines() if line]
        if wait_for is None or len(found) >= wait_for or time.monotonic() > end:
            break
        time.sleep(0.1)
    return sorted(found, key=lambda r: (r.get("_time", "").rstrip("Z"), r.get("_msg", "")))


def bare(found, *without):
    """Without what names the stream's identity, and what is asked to be left out."""
    drop = {"_stream_id", *without}
    return [{k: v for k, v in r.items() if k not in drop} for r in found]


def metric(server, line):
    """The value of one line of /metrics, 0 when it is not there."""
    for text in server.http("/metrics")[2].decode().splitlines():
        if text.startswith(line + " "):
            return float(text[len(line) + 1:])
    return 0
