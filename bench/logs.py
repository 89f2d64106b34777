#!/usr/bin/env python3
"""The log benchmark: see logs.sh. Ingestion of JSON lines, memory, disk, queries with their answers compared."""
import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers

STREAMS = "kubernetes.namespace_name,kubernetes.pod_name,kubernetes.container_name"
INSERT = "/insert/jsonline?_stream_fields=" + STREAMS
SPAN_MS = 3 * 3600 * 1000

# (name, endpoint, query, further arguments). {from}, {to}: the data's range. Rows are compared as sets.
QUERIES = [
    ("count of all", "query", "* | count()", {}),
    ("word, frequent", "query", "processed | count()", {}),
    ("word, rare", "query", "IllegalStateException | count()", {}),
    ("word, absent", "query", "nosuchword | count()", {}),
    ("phrase", "query", '"deadline exceeded" | count()', {}),
    ("prefix", "query", "retry* | count()", {}),
    ("substring", "query", "~ssed | count()", {}),
    ("regex, selective", "query", '~"item 49[0-9]+ has 0" | count()', {}),
    ("regex, unselective", "query", '~"[0-9]+ms" | count()', {}),
    ("field word", "query", "level:error | count()", {}),
    ("field exact", "query", 'kubernetes.labels.app:="orders" | count()', {}),
    ("and, not", "query", "level:error !kubernetes.labels.app:=ingress-nginx | count()", {}),
    ("stream", "query", '{kubernetes.namespace_name="shop"} error | count()', {}),
    ("rare id", "query", '"{id}" | fields _time, _msg', {}),
    ("last rows of a word", "query", "payment", {"limit": "100"}),
    ("stats by", "query", "* | stats by (kubernetes.labels.app, level) count() n", {}),
    ("stats by time", "query", "* | stats by (_time:5m) count() n", {}),
    ("stats of a number", "query", "bytes:* or duration:* | stats count() n", {}),
    ("top", "query", "* | top 10 by (kubernetes.host)", {}),
    ("uniq", "query", "* | uniq by (kubernetes.pod_name) | count()", {}),
    ("sort, limit", "query", "level:error | sort by (_time) limit 20 | fields _time, _msg", {}),
    ("hits", "hits", "error", {"start": "{from}", "end": "{to}", "step": "5m", "field": "level"}),
    ("facets", "facets", "level:error", {"start": "{from}", "end": "{to}"}),
    ("field values", "field_values", "*", {"field": "kubernetes.labels.version", "start": "{from}", "end": "{to}"}),
    ("streams", "streams", "*", {"start": "{from}", "end": "{to}"}),
    ("unpack and filter", "query", "log_type:k8s_audit | unpack_json fields (verb) | verb:=patch | count()", {}),
    ("extract", "query", 'processed | extract "in <took>ms" | stats count_uniq(took) n', {}),
]


class Kofstore(servers.Kofstore):
    def settle(self):
        self.get("/internal/force_flush")
        self.get("/internal/force_merge")
        super().settle()

    def disk(self):
        return servers.folder_bytes(self.folder + "/logs")


class VictoriaLogs(servers.Server):
    label = "VictoriaLogs"

    def command(self):
        return [self.binary, f"-storageDataPath={self.folder}", f"-httpListenAddr={self.addr}"]

    def settle(self):
        self.get("/internal/force_flush")
        day = time.strftime("%Y%m%d", time.gmtime())
        self.get("/internal/force_merge", partition_prefix=day[:6])
        last, calm = -1, 0
        while calm < 3:
            now = servers.folder_bytes(self.folder)
            calm = calm + 1 if now == last else 0
            last = now
            time.sleep(2)

    def disk(self):
        return servers.folder_bytes(self.folder + "/partitions")


def find(work, build):
    load = f"{build}/bench/bench_load"
    out = []
    for kind, binary in ((Kofstore, f"{build}/kofstore"),
                         (VictoriaLogs, os.environ.get("KOFSTORE_BENCH_VL") or shutil.which("victoria-logs"))):
        if binary and os.path.exists(binary):
            out.append(kind(binary, f"{work}/{kind.label.lower()}", load))
        else:
            print(f"{kind.label}: not found; not compared")
    return out


def run(load, *args):
    done = subprocess.run([load, *args], capture_output=True, text=True)
    if done.stderr:
        print(done.stderr.strip()[:400], file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def user_cpu_s(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ingest(s, data, made, load):
    s.wipe()
    s.start()
    peak = 0
    sender = subprocess.Popen([load, "send", f"--file={data}", f"--addr={s.addr}", f"--path={INSERT}", "--plain=1",
                               f"--pid={s.pid}"], stdout=subprocess.PIPE, text=True)
    while sender.poll() is None:
        peak = max(peak, s.rss())
        time.sleep(0.02)
    sent = json.loads(sender.stdout.read())
    sending_cpu = sent["cpu_s"]
    s.settle()
    total_cpu = user_cpu_s(s.pid)
    return {"CPU per line while sending, µs": sending_cpu / made["lines"] * 1e6,
            "CPU per line with flush and merge, µs": total_cpu / made["lines"] * 1e6,
            "MB per second of CPU, with merge": made["bytes"] / 1e6 / total_cpu,
            "memory while sending, MiB": peak / 2**20, "memory after, MiB": s.rss() / 2**20,
            "disk, bytes per line": s.disk() / made["lines"], "disk, of the text": s.disk() / made["bytes"],
            "p99 of a request, ms": sent["p99_ms"]}


def rare_id(data):
    with open(data, "rb") as f:
        f.seek(os.path.getsize(data) // 2)
        text = f.read(1 << 20)
    at = text.index(b"trace_id=") + 9
    return text[at:at + 32].decode()


def canonical(body):
    """An answer without order: lines (or hits, values) as a sorted list of sorted JSON."""
    out = []
    for line in body.decode("utf-8", "replace").splitlines():
        if not line:
            continue
        one = json.loads(line)
        if isinstance(one, dict):
            one.pop("_stream_id", None)
            for key in ("values", "hits", "facets"):
                if isinstance(one.get(key), list):
                    one[key] = sorted(json.dumps(v, sort_keys=True) for v in one[key])
        out.append(json.dumps(one, sort_keys=True))
    return sorted(out)


def ask(s, args, work, query_args):
    paths = f"{work}/paths"
    with open(paths, "w") as f:
        for _, endpoint, query, more in QUERIES:
            q = {"query": query, **more}
            q = {k: v.format(**query_args) if "{from}" in v or "{to}" in v or "{id}" in v else v for k, v in q.items()}
            f.write(f"/select/logsql/{endpoint}?{urllib.parse.urlencode(q)}\n")
    folder = f"{work}/answers-{s.label.lower()}"
    os.makedirs(folder, exist_ok=True)
    figures = run(s.load, "query", f"--addr={s.addr}", f"--paths={paths}", f"--save={folder}", f"--pid={s.pid}", f"--max={args.max}")
    bodies = []
    for i in range(len(QUERIES)):
        path = next((os.path.join(folder, f) for f in (f"{i}", f"{i}.txt", f"{i:03d}", f"{i}.json")
                     if os.path.exists(os.path.join(folder, f))), None)
        bodies.append(open(path, "rb").read() if path else b"")
    return figures, bodies


def table(head, body):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in body:
        print("| " + " | ".join(row) + " |")
    print()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build")
    p.add_argument("--lines", type=int, default=2_000_000)
    p.add_argument("--pods", type=int, default=300)
    p.add_argument("--json")
    p.add_argument("--keep", metavar="DIR", help="keeps lines and stores there; when they are there already, only asks")
    p.add_argument("--max", type=int, default=20, help="runs of a query")
    args = p.parse_args()
    load = f"{args.build}/bench/bench_load"
    with contextlib.ExitStack() as stack:
        work = args.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="kofstore-bench-logs-"))
        os.makedirs(work, exist_ok=True)
        start_ms = int(time.time()) * 1000 - SPAN_MS - 60000
        data = work + "/lines.bin"
        kept = work + "/made.json"
        old = os.path.exists(kept)
        if old:
            with open(kept) as f:
                made = json.load(f)
            start_ms = made["start_ms"]
        else:
            made = run(load, "genlogs", f"--out={data}", f"--lines={args.lines}", f"--pods={args.pods}",
                       f"--start-ms={start_ms}", f"--span-ms={SPAN_MS}")[0]
            made["start_ms"] = start_ms
        found = find(work, args.build)
        print(f"# Logs: {made['lines']} lines, {made['bytes'] / 1e6:.0f} MB of JSON, {args.pods} pods, "
              f"{platform.machine()}, {os.cpu_count()} cores\n")
        for s in found if old else ():
            s.start()
        ingested = [] if old else [ingest(s, data, made, load) for s in found]
        names = list(ingested[0]) if ingested else []
        if names:
            table(["", *[s.label for s in found], "ratio"],
                  [[n, *[f"{r[n]:.3g}" for r in ingested], ratio(*[r[n] for r in ingested])] for n in names])
        if args.keep and not old:
            with open(kept, "w") as f:
                json.dump(made, f)
        query_args = {"from": str(start_ms // 1000), "to": str(made["end_ms"] // 1000 + 1), "id": rare_id(data)}
        asked = [ask(s, args, work, query_args) for s in found]
        body = []
        for i, (name, *_) in enumerate(QUERIES):
            figures = [a[0][i] for a in asked]
            same = "-" if len(asked) < 2 else verdict([a[1][i] for a in asked], [f["status"] for f in figures])
            body.append([name, *[f"{f['ms']:.3g} / {f['cpu_ms']:.3g}" if f["status"] == 200 else f"status {f['status']}"
                                 for f in figures],
                         ratio(*[f["cpu_ms"] if f["status"] == 200 else 0 for f in figures]), same])
        table(["query: ms / CPU ms", *[s.label for s in found], "CPU ratio", "answers"], body)
        if args.json:
            with open(args.json, "w") as f:
                json.dump({"made": made, "ingest": ingested, "queries": [a[0] for a in asked]}, f, indent=1)
        for s in found:
            s.stop()


def ratio(*values):
    return f"{values[0] / values[1]:.2f}" if len(values) > 1 and values[1] and values[0] else "-"


def verdict(bodies, statuses):
    if any(s != 200 for s in statuses):
        return "-"
    try:
        return "equal" if canonical(bodies[0]) == canonical(bodies[1]) else "DIFFERENT"
    except ValueError:
        return "unreadable"


if __name__ == "__main__":
    main()
