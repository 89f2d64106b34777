#!/usr/bin/env python3
"""A real Prometheus scrapes itself (and node_exporter where found) and remote-writes to the server; its answers and the server's agree,
also right after kill -9 and restart. Needs `prometheus` on PATH or in KOFSTORE_PROMETHEUS; says so and ends well without it."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

from ingest_lib import BIN, free_port

PROM = os.environ.get("KOFSTORE_PROMETHEUS") or shutil.which("prometheus")
NODE = os.environ.get("KOFSTORE_NODE_EXPORTER") or shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")


def get(url, timeout=10):
    with urllib.request.urlopen(url, timeout=timeout) as r:
        return json.loads(r.read())


def query(base, expr, at):
    q = urllib.parse.urlencode({"query": expr, "time": at, "nocache": "1"})
    return get(f"{base}/api/v1/query?{q}")["data"]["result"]


def query_range(base, expr, start, end, step):
    q = urllib.parse.urlencode({"query": expr, "start": start, "end": end, "step": step, "nocache": "1"})
    return get(f"{base}/api/v1/query_range?{q}")["data"]["result"]


def wait_for(what, seconds, fn):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if fn():
                return
        except OSError:
            pass
        time.sleep(0.3)
    raise SystemExit(f"gave up waiting for {what}")


def start_server(data, port):
    p = subprocess.Popen([BIN, "serve", f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("the server", 20, lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200)
    return p


def table(result):
    return {json.dumps(r["metric"], sort_keys=True): r for r in result}


def compare(prom, ours, expr, at):
    """Series and values are equal on both sides at a time both have seen. MetricsQL leaves out what is NaN."""
    a, b = table(query(prom, expr, at)), table(query(ours, expr, at))
    a = {k: v for k, v in a.items() if v["value"][1] != "NaN"}
    assert a, f"{expr}: prometheus has nothing"
    assert a.keys() == b.keys(), f"{expr}: {len(a)} series there, {len(b)} here; missing {list(a.keys() - b.keys())[:2]}"
    for k, v in a.items():
        x, y = float(v["value"][1]), float(b[k]["value"][1])
        assert x == y or (x != x and y != y) or abs(x - y) <= 1e-9 * max(abs(x), abs(y)), \
            f"{expr} {k}: {x} there, {y} here"
    return len(a)


def compare_range(prom, ours, expr, start, end, step):
    a, b = table(query_range(prom, expr, start, end, step)), table(query_range(ours, expr, start, end, step))
    assert a and a.keys() == b.keys(), f"{expr}: {len(a)} series there, {len(b)} here"
    points = 0
    for k, v in a.items():
        theirs = dict(map(tuple, v["values"]))
        mine = dict(map(tuple, b[k]["values"]))
        for t in theirs.keys() & mine.keys():
            assert float(theirs[t]) == float(mine[t]), f"{expr} {k} at {t}: {theirs[t]} there, {mine[t]} here"
            points += 1
    assert points > 0, f"{expr}: no common points"
    return points


def main():
    if not PROM:
        print("skipped: no prometheus on PATH or in KOFSTORE_PROMETHEUS")
        return
    tmp = tempfile.mkdtemp(prefix="kofstore-e2e-")
    port, pport, nport = free_port(), free_port(), free_port()
    jobs = [f"- job_name: prometheus\n  static_configs: [{{targets: ['127.0.0.1:{pport}']}}]\n"]
    procs = []
    if NODE:
        procs.append(subprocess.Popen([NODE, f"--web.listen-address=127.0.0.1:{nport}"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        jobs.append(f"- job_name: node\n  static_configs: [{{targets: ['127.0.0.1:{nport}']}}]\n")
    with open(f"{tmp}/prom.yml", "w") as f:
        f.write("global: {scrape_interval: 1s}\nscrape_configs:\n" + "".join(jobs) +
                f"remote_write:\n- url: http://127.0.0.1:{port}/api/v1/write\n")
    server = start_server(f"{tmp}/data", port)
    procs.append(subprocess.Popen([PROM, f"--config.file={tmp}/prom.yml", f"--storage.tsdb.path={tmp}/prom",
                                   f"--web.listen-address=127.0.0.1:{pport}"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    prom, ours = f"http://127.0.0.1:{pport}", f"http://127.0.0.1:{port}"
    try:
        wait_for("samples to arrive", 60, lambda: query(ours, "count_over_time(up[1m]) > 15", time.time()))
        for restart in range(2):
            at = time.time() - 4
            n = 0
            for expr in ("up", "prometheus_http_requests_total", "process_cpu_seconds_total",
                         "prometheus_tsdb_head_series", "{__name__=~\"go_.*|prometheus_.*\",job=\"prometheus\"}",
                         "sum(prometheus_tsdb_head_samples_appended_total)", "sum by (job) (max_over_time(process_resident_memory_bytes[5s]))",
                         "prometheus_http_request_duration_seconds_bucket"):
                n += compare(prom, ours, expr, at)
            points = 0
            for expr in ("process_resident_memory_bytes", "prometheus_tsdb_head_samples_appended_total",
                         "sum by (handler) (prometheus_http_requests_total)"):
                points += compare_range(prom, ours, expr, int(at) - 10, int(at), 1)
            print(f"{'after kill -9' if restart else 'first run'}: {n} instant values and {points} points equal")
            if not restart:
                server.send_signal(signal.SIGKILL)
                server.wait()
                server = start_server(f"{tmp}/data", port)
                assert query(ours, "count_over_time(up[10m]) > 15", time.time()), "samples are missing right after kill -9"
                wait_for("prometheus to catch up", 60, lambda: query(ours, "up", time.time() - 3))
                time.sleep(6)
    finally:
        for p in [server] + procs:
            p.kill()
            p.wait()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    main()
