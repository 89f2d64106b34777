#!/usr/bin/env python3
"""Runs every query of a corpus over its generated data; each must be understood, as an instant and as a range query.

Generated labels make a few joins ambiguous; those answer "duplicate time series" here as in VictoriaMetrics, which counts as
an answer while they stay few.

    corpus.py CORPUS.jsonl DATA_DIR BASE_URL

DATA_DIR holds data.jsonl (lines of /api/v1/import) and manifest.json (end, step and span of the data).
"""
import concurrent.futures
import http.client
import json
import os
import sys
import threading
import urllib.parse

local = threading.local()


def request(host, method, path, body=None, kind="application/json"):
    for again in (True, False):
        if not getattr(local, "conn", None):
            local.conn = http.client.HTTPConnection(host, timeout=60)
        try:
            local.conn.request(method, path, body, {"Content-Type": kind} if body else {})
            r = local.conn.getresponse()
            return r.status, r.read()
        except (http.client.HTTPException, OSError):
            local.conn = None
            if not again:
                raise


def load(host, path):
    buf, size = [], 0
    with open(path, "rb") as f:
        for line in f:
            buf.append(line)
            size += len(line)
            if size > 4 << 20:
                post(host, buf)
                buf, size = [], 0
    post(host, buf)
    status, _ = request(host, "GET", "/internal/force_flush")
    assert status == 200, status


def post(host, lines):
    if lines:
        status, body = request(host, "POST", "/insert/424242/prometheus/api/v1/import", b"".join(lines))
        assert status < 300, body[:300]


def calls(record, m):
    """(path, arguments) of a record."""
    end = m["end"]
    api = record.get("api") or "/api/v1/query"
    expr = record["expr"]
    if "label_values" in api or api.endswith(("/series", "/export")):
        return
    yield "query", {"query": expr, "time": str(end)}
    yield "query_range", {"query": expr, "start": str(end - 1800), "end": str(end), "step": "60"}


def main():
    corpus, data, base = sys.argv[1:4]
    host = urllib.parse.urlsplit(base).netloc
    with open(os.path.join(data, "manifest.json")) as f:
        manifest = json.load(f)
    load(host, os.path.join(data, "data.jsonl"))
    with open(corpus) as f:
        records = [json.loads(line) for line in f if line.strip()]
    todo = [(r["id"], path, args) for r in records for path, args in calls(r, manifest)]

    def run(item):
        name, path, args = item
        body = urllib.parse.urlencode(args)
        status, text = request(host, "POST", "/select/424242/prometheus/api/v1/" + path, body,
                               "application/x-www-form-urlencoded")
        try:
            answer = json.loads(text)
            ok = status == 200 and answer.get("status") == "success"
            ambiguous = "duplicate time series on the" in answer.get("error", "")
            return ok, len(answer["data"]["result"]) if ok else 0, ambiguous, (name, path, args["query"], answer.get("error"))
        except ValueError:
            return False, 0, False, (name, path, args["query"], text[:200])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, todo))
    bad = [what for ok, _, ambiguous, what in results if not ok and not ambiguous]
    ambiguous = sum(1 for r in results if r[2])
    filled = sum(1 for ok, n, _, _ in results if ok and n)
    for b in bad[:10]:
        print("  ", *b)
    print("corpus: %d calls, %d failed, %d ambiguous, %d with series" % (len(results), len(bad), ambiguous, filled))
    return 1 if bad or ambiguous * 50 > len(results) or filled * 2 < len(results) else 0


if __name__ == "__main__":
    sys.exit(main())
