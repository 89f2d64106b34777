#!/usr/bin/env python3
"""A real Prometheus scrapes its own native histograms and remote-writes them; strict PromQL here answers as it does there, instant and
range, from the head, after kill -9, and from merged parts. Needs `prometheus` on PATH or in KOFSTORE_PROMETHEUS; says so and ends
well without it."""
import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

from ingest_lib import BIN, free_port
from test_prometheus import PROM, get, wait_for

H = "prometheus_http_request_duration_seconds"
EXPRESSIONS = [
    H,
    f"rate({H}[20s])",
    f"increase({H}[15s])",
    f"irate({H}[20s])",
    f"sum(rate({H}[20s]))",
    f"sum by (handler) (rate({H}[20s]))",
    f"avg(rate({H}[20s]))",
    f"histogram_quantile(0.9, sum(rate({H}[20s])))",
    f"histogram_quantile(0.5, {H})",
    f"histogram_fraction(0, 0.01, {H})",
    f"histogram_count({H})",
    f"histogram_sum(rate({H}[20s]))",
    f"histogram_avg({H})",
    f"histogram_stddev({H})",
    f"histogram_stdvar({H})",
    f"avg_over_time({H}[10s])",
    f"sum_over_time({H}[10s])",
    f"last_over_time({H}[10s])",
    f"count_over_time({H}[10s])",
    f"changes({H}[20s])",
    f"resets({H}[20s])",
    f"delta({H}[20s])",
    f"{H} * 2",
    f"-{H}",
    f"{H} - {H} offset 5s",
    f"{H} == {H} offset 5s",
    f"{H} + on() group_left count({H})",
    f"count({H})",
    f"topk(2, {H})",
    f"max({H})",
    f"count_values(\"v\", {H})",
    f"rate({H}[20s:2s])",
    f"{H} and on (handler) rate({H}[20s])",
    f"timestamp({H})",
    f"absent({H})",
    f"sort_desc(histogram_count({H}))",
    f"label_replace({H}, \"x\", \"$1\", \"handler\", \"/(.*)\")",
]


def ask(base, path, **args):
    try:
        return get(f"{base}/api/v1/{path}?{urllib.parse.urlencode(args)}", timeout=30)
    except urllib.error.HTTPError as e:
        return json.loads(e.read())


def close(a, b):
    x, y = float(a), float(b)
    return x == y or (x != x and y != y) or abs(x - y) <= 1e-9 * max(abs(x), abs(y))


def same_point(a, b):
    if isinstance(a, str):
        return isinstance(b, str) and close(a, b)
    if isinstance(b, str) or not close(a["count"], b["count"]) or not close(a["sum"], b["sum"]):
        return False
    x, y = a.get("buckets", []), b.get("buckets", [])
    return len(x) == len(y) and all(p[0] == q[0] and all(map(close, p[1:], q[1:])) for p, q in zip(x, y))


def points(series):
    out = {}
    for key in ("value", "histogram"):
        if key in series:
            out[float(series[key][0])] = series[key][1]
    for key in ("values", "histograms"):
        for t, v in series.get(key, []):
            out[float(t)] = v
    return out


def table(answer):
    return {json.dumps(s["metric"], sort_keys=True): points(s) for s in answer["data"]["result"]}


def compare(prom, ours, path, expr, **args):
    a, b = ask(prom, path, query=expr, **args), ask(ours, path, query=expr, **args)
    assert a["status"] == b["status"] == "success", f"{expr}: {a.get('error')} there, {b.get('error')} here"
    for kind in ("warnings", "infos"):
        assert sorted(a.get(kind, [])) == sorted(b.get(kind, [])), f"{expr}: {kind} {a.get(kind)} there, {b.get(kind)} here"
    x, y = table(a), table(b)
    assert x.keys() == y.keys(), f"{expr}: {len(x)} series there, {len(y)} here: {list(x.keys() ^ y.keys())[:3]}"
    n = 0
    for k in x:
        assert x[k].keys() == y[k].keys(), f"{expr} {k}: points at {sorted(x[k])} there, {sorted(y[k])} here"
        for t in x[k]:
            assert same_point(x[k][t], y[k][t]), f"{expr} {k} at {t}: {x[k][t]} there, {y[k][t]} here"
            n += 1
    return n


def start(data, port):
    p = subprocess.Popen([BIN, "serve", f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-nativeHistograms=native",
                          "-enable-feature=promql-experimental-functions"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("the server", 20, lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200)
    return p


def main():
    if not PROM:
        print("skipped: no prometheus on PATH or in KOFSTORE_PROMETHEUS")
        return
    tmp = tempfile.mkdtemp(prefix="kofstore-e2e-")
    port, pport = free_port(), free_port()
    with open(f"{tmp}/prom.yml", "w") as f:
        f.write("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: prometheus\n"
                f"  static_configs: [{{targets: ['127.0.0.1:{pport}']}}]\n"
                f"remote_write:\n- url: http://127.0.0.1:{port}/api/v1/write\n  send_native_histograms: true\n")
    server = start(f"{tmp}/data", port)
    prom_proc = subprocess.Popen([PROM, f"--config.file={tmp}/prom.yml", f"--storage.tsdb.path={tmp}/prom",
                                  "--enable-feature=native-histograms,promql-experimental-functions",
                                  f"--web.listen-address=127.0.0.1:{pport}"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    prom, ours = f"http://127.0.0.1:{pport}", f"http://127.0.0.1:{port}/prometheus-strict"
    busy, reader = 0, None

    def poke():
        nonlocal busy
        busy += 1
        for path in ("query?query=up", "labels", "targets", "series?match[]=up", "status/buildinfo")[:1 + busy % 5]:
            urllib.request.urlopen(f"{prom}/api/v1/{path}", timeout=5).read()

    def round_of(name):
        at = int(time.time()) - 4
        n = sum(compare(prom, ours, "query", e, time=at) for e in EXPRESSIONS)
        r = sum(compare(prom, ours, "query_range", e, start=at - 15, end=at, step=step) for e in EXPRESSIONS for step in (1, 4))
        assert n and r
        print(f"{name}: {n} instant and {r} range points equal")

    try:
        wait_for("prometheus", 30, lambda: poke() or True)
        for _ in range(60):
            poke()
            time.sleep(0.5)
        round_of("head")
        server.send_signal(signal.SIGKILL)
        server.wait()
        server = start(f"{tmp}/data", port)
        for _ in range(24):
            poke()
            time.sleep(0.5)
        round_of("after kill -9")
        urllib.request.urlopen(f"http://127.0.0.1:{port}/internal/force_flush", timeout=30).read()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/internal/force_merge", timeout=30).read()
        round_of("parts and head")
        with open(f"{tmp}/reader.yml", "w") as f:
            f.write(f"remote_read:\n- url: http://127.0.0.1:{port}/api/v1/read\n  read_recent: true\n")
        rport = free_port()
        reader = subprocess.Popen([PROM, f"--config.file={tmp}/reader.yml", f"--storage.tsdb.path={tmp}/reader",
                                   "--enable-feature=promql-experimental-functions", f"--web.listen-address=127.0.0.1:{rport}"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the reading prometheus", 30, lambda: urllib.request.urlopen(f"http://127.0.0.1:{rport}/-/ready", timeout=2).status == 200)
        at = int(time.time()) - 4
        n = sum(compare(f"http://127.0.0.1:{rport}", ours, "query", e, time=at) for e in EXPRESSIONS)
        assert n
        print(f"through remote read: {n} instant points equal")
    finally:
        for p in filter(None, (server, prom_proc, reader)):
            p.kill()
            p.wait()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    main()
