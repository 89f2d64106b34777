#!/usr/bin/env python3
"""The metrics benchmark: see metrics.sh. Prints Markdown; --json=FILE keeps every figure."""
import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import answers
import queries
import servers

STEP_MS = 15000


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.load = f"{args.build}/bench/bench_load"
        self.servers = servers.find(work, args.build, args.servers)
        self.now_ms = int(time.time()) * 1000
        self.figures = {}  # (job, unit) -> {label: [values]}
        self.bodies = {}   # label -> {query: body}
        self.notes = []

    def note(self, text):
        print(text, file=sys.stderr, flush=True)

    def add(self, job, unit, server, value):
        self.figures.setdefault((job, unit), {}).setdefault(server.label, []).append(value)
        self.note(f"  {server.label}: {job} = {value:.4g} {unit}")

    def run(self, *args):
        r = subprocess.run([self.load, *args], capture_output=True, text=True)
        if r.stderr:
            self.note(r.stderr.strip()[:500])
        return [json.loads(line) for line in r.stdout.splitlines()]

    def gen(self, name, **args):
        path = f"{self.work}/{name}.bin"
        made = self.run("gen", f"--out={path}", *[f"--{k.replace('_', '-')}={v}" for k, v in args.items()])[0]
        self.note(f"{name}: {made}")
        return path, made

    def send(self, s, path, first, last, conns=2):
        return self.run("send", f"--file={path}", f"--addr={s.addr}", "--path=/api/v1/write", f"--pid={s.pid}",
                        f"--from={first}", f"--to={last}", f"--conns={conns}")[0]

    # --- stages ---------------------------------------------------------------------------------------------------------

    def ingest(self, s, path, series, rounds, tag, settle_s):
        """A new server takes rounds of samples; what it does in the background for some seconds after counts too."""
        s.wipe()
        s.start()
        time.sleep(1)
        idle = s.rss()
        t0 = cpu_s(s.pid)
        first = self.send(s, path, 0, 0)
        time.sleep(3)
        new_cpu = cpu_s(s.pid) - t0
        warm = min(4, max(1, rounds // 10))
        self.send(s, path, 1, warm)
        t0 = cpu_s(s.pid)
        r = self.send(s, path, warm + 1, rounds - 1)
        time.sleep(settle_s)
        per_sample = (cpu_s(s.pid) - t0) / max(r["samples"], 1) * 1e6
        self.add(f"ingest, {tag} series: CPU", "µs/sample", s, per_sample)
        self.add(f"ingest, {tag} series: CPU until the last answer", "µs/sample", s, r["cpu_s"] / max(r["samples"], 1) * 1e6)
        self.add(f"ingest, {tag} series: rate", "K samples/s", s, r["samples"] / r["wall_s"] / 1e3)
        self.add(f"ingest, {tag} series: p99 of a request", "ms", s, r["p99_ms"])
        self.add(f"new series, {tag}", "µs CPU", s, (new_cpu / max(first["samples"], 1)) * 1e6 - per_sample)
        self.add(f"memory, {tag} series", "bytes/series", s, (s.rss() - idle) / series)
        return first["samples"] + r["samples"]

    def ask(self, s, asked, tag, warm=True):
        asked = [q for q in asked if s.exports or "export" not in q[1]]
        paths = f"{self.work}/paths"
        with open(paths, "w") as f:
            f.write("".join(queries.path_of(p, a) + "\n" for _, p, a in asked))
        save = f"{self.work}/answers"
        shutil.rmtree(save, ignore_errors=True)
        os.mkdir(save)
        budget = self.args.budget_ms if warm else 0
        results = self.run("query", f"--addr={s.addr}", f"--pid={s.pid}", f"--paths={paths}", f"--save={save}",
                           f"--budget-ms={budget}", f"--max={200 if warm else 0}")
        for i, ((name, _, _), r) in enumerate(zip(asked, results)):
            if r["status"] != 200:
                self.notes.append(f"{s.label}, {name}: status {r['status']}")
                continue
            if warm:
                self.add(f"{tag}: {name}", "ms", s, r["ms"])
                self.add(f"{tag}, CPU: {name}", "ms CPU", s, r["cpu_ms"])
            else:
                self.add(f"{tag} cold: {name}", "ms", s, r["first_ms"])
            with open(f"{save}/{i}", "rb") as f:
                self.bodies.setdefault(s.label, {})[f"{tag}: {name}"] = f.read()

    def cold(self, s, asked, tag):
        s.stop()
        s.drop_file_cache()
        s.start()
        self.ask(s, asked, tag, warm=False)

    def disk(self, s, samples, series, tag):
        s.settle()
        time.sleep(1)
        d = s.disk()
        self.add(f"disk, {tag}: data", "bytes/sample", s, d["data"] / samples)
        self.add(f"disk, {tag}: index", "bytes/series", s, d["index"] / series)
        self.add(f"disk, {tag}: log and checkpoint", "MB", s, d["wal"] / 1e6)
        self.add(f"disk, {tag}: everything", "MB", s, servers.folder_bytes(s.folder) / 1e6)

    def restart(self, s, probe, tag):
        """kill -9 at once after the last answered write; then until ready, and until the probe answers as before."""
        want = float(value_of(s.get(queries.INSTANT, **probe)) or 0)
        s.stop(signal.SIGKILL)
        begin = time.monotonic()
        ready = s.start()
        got, deadline = -1.0, time.monotonic() + 120
        while got < want and time.monotonic() < deadline:
            try:
                got = float(value_of(s.get(queries.INSTANT, **probe)) or 0)
            except OSError:
                pass
            if got < want:
                time.sleep(0.05)
                if time.monotonic() - begin > 20 + ready:
                    break
        self.add(f"restart after kill -9, {tag}: ready", "s", s, ready)
        self.add(f"restart after kill -9, {tag}: all answered", "s", s, time.monotonic() - begin)
        self.add(f"restart after kill -9, {tag}: samples lost", "%", s, max(0, want - got) / max(want, 1) * 100)

    # --- the plan -------------------------------------------------------------------------------------------------------

    def hundred_thousand(self):
        a = self.args
        series, rounds = (20000, 40) if a.quick else (100000, 120)
        start = (self.now_ms - 2 * 3600_000) // 60_000 * 60_000
        path, made = self.gen("main", series=series, rounds=rounds, start_ms=start, seed=a.seed)
        more, _ = self.gen("more", series=series, rounds=10 if a.quick else 40, start_ms=start + rounds * STEP_MS, seed=a.seed,
                           late=0, churn=0)
        self.data = made
        tag = f"{series // 1000} K"
        begin, end = start // 1000, (start + (rounds - 1) * STEP_MS) // 1000
        for s in self.servers:
            runs = 1 if a.quick or isinstance(s, servers.Prometheus) else a.runs
            for i in range(runs):
                self.note(f"{s.label}: {tag}, run {i + 1} of {runs}")
                self.ingest(s, path, series, rounds, tag, 8)
                if i + 1 < runs:
                    s.stop()
            # Alive at the end: a pod that was replaced before would make its questions empty.
            alive = json.loads(s.get(queries.INSTANT, query="go_goroutines", time=end, nocache=1))["data"]["result"]
            names = [r["metric"]["pod"] for r in alive]
            instances = json.loads(s.get("/api/v1/label/instance/values", **{"match[]": "node_load1", "start": begin,
                                                                          "end": end}))["data"]
            names.sort(), instances.sort()
            asked = queries.standard(begin, end, names[len(names) // 2], instances[len(instances) // 2])
            self.disk(s, made["samples"], series + made["new_series"], tag)
            self.ask(s, asked, tag)
            panels = queries.dashboard(instances[len(instances) // 2])
            self.dashboard(s, panels, begin, end, "dashboard")
            self.cold(s, asked, tag)
            self.tiny(s, more, end, names)
            s.stop()
            if not a.keep:
                s.wipe()

    def dashboard(self, s, panels, begin, end, tag):
        """Panels asked again and again, each time a step later: the first look, the refreshes with the caches there are, and
        the same ranges without any."""
        def ask(query, step, back, **more):
            until = (end - 360) // step * step - back * step  # what is younger than five minutes is nobody's to keep
            t, c = time.perf_counter(), threads_cpu_ms(s.pid)
            s.get(queries.RANGE, query=query, start=begin + 600 - back * step, end=until, step=step, **more)
            return (time.perf_counter() - t) * 1e3, threads_cpu_ms(s.pid) - c
        for name, query, step in panels:
            span = min(20, (end - begin) // step // 4)
            fresh = [ask(query, step, back, nocache=1) for back in range(span - 1, -1, -1)]
            looks = {"first look": [ask(query, step, span)],
                     "refreshed": [ask(query, step, back) for back in range(span - 1, -1, -1)],
                     "refreshed without cache": fresh}
            for what, times in looks.items():
                self.add(f"{tag}, {what}: {name}", "ms", s, statistics.median(t for t, _ in times))
                self.add(f"{tag}, {what}, CPU: {name}", "ms CPU", s, statistics.median(c for _, c in times))

    def tiny(self, s, path, end, names):
        """200 small queries a second alone, then beside full ingest."""
        file = f"{self.work}/tiny"
        with open(file, "w") as f:
            f.write("\n".join(queries.tiny(end, names[:: max(1, len(names) // 50)])) + "\n")
        command = [self.load, "tiny", f"--addr={s.addr}", f"--paths={file}", "--rate=200"]
        alone = json.loads(subprocess.run([*command, "--seconds=3"], capture_output=True, text=True).stdout)
        self.add("200 small queries/s alone: p99", "ms", s, alone["p99_ms"])
        sender = subprocess.Popen([self.load, "send", f"--file={path}", f"--addr={s.addr}", f"--pid={s.pid}", "--conns=2"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.2)
        busy = json.loads(subprocess.run([*command, f"--seconds={2 if self.args.quick else 3}"], capture_output=True,
                                         text=True).stdout)
        sender.kill()
        sender.wait()
        self.add("200 small queries/s beside full ingest: p50", "ms", s, busy["p50_ms"])
        self.add("200 small queries/s beside full ingest: p99", "ms", s, busy["p99_ms"])
        if busy["failed"]:
            self.notes.append(f"{s.label}: {busy['failed']} of {busy['queries']} small queries failed beside ingest")

    def a_million(self):
        a = self.args
        if a.quick:
            return
        series, rounds = 1000000, 8
        start = (self.now_ms - 3600_000) // 60_000 * 60_000
        path, made = self.gen("million", series=series, rounds=rounds, start_ms=start, seed=a.seed + 1)
        end = (start + rounds * STEP_MS) // 1000
        asked = queries.million(end)
        for s in self.servers:
            self.note(f"{s.label}: 1 M")
            self.ingest(s, path, series, rounds, "1 M", 10)
            probe = {"query": 'sum(count_over_time({__name__=~"container_.*"}[1h]))', "time": end, "nocache": 1}
            self.restart(s, probe, "1 M")
            self.ask(s, asked, "1 M")
            if not isinstance(s, servers.Prometheus):
                self.disk(s, made["samples"], series + made["new_series"], "1 M")
                self.ask(s, asked, "1 M, flushed")
            s.stop()
            if not a.keep:
                s.wipe()

    def a_month(self):
        a = self.args
        days = 3 if a.quick else 29
        series = 320
        start = (self.now_ms - days * 86400_000) // 3600_000 * 3600_000
        rounds = days * 1440 // 30 * 30
        path, made = self.gen("month", series=series, rounds=rounds, start_ms=start, step_ms=60000, run=30, late=0, churn=0,
                              seed=a.seed + 2)
        asked = queries.month(start // 1000, start // 1000 + rounds * 60)
        for s in self.servers:
            self.note(f"{s.label}: 29 days")
            s.wipe()
            s.start()
            t0 = cpu_s(s.pid)
            r = self.send(s, path, 0, rounds, conns=1)
            time.sleep(5)
            if r["samples"] < made["samples"]:
                self.notes.append(f"{s.label}: took {r['samples']} of {made['samples']} samples of the past {days} days")
            self.add(f"{days} days at once: CPU", "µs/sample", s, (cpu_s(s.pid) - t0) / max(r["samples"], 1) * 1e6)
            self.disk(s, made["samples"], series, f"{days} days")
            self.ask(s, asked, "29 d")
            last = start // 1000 + rounds * 60
            self.dashboard(s, queries.day_dashboard(), last - 86400, last, "dashboard of a day")
            for q in asked:  # each by itself: else it would tell which one came first to the samples
                self.cold(s, [q], "29 d")
            s.stop()
            if not a.keep:
                s.wipe()


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads_cpu_ms(pid):
    """For short spans: the threads there are, by the scheduler's clock."""
    ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                ns += int(f.read().split()[0])
        except OSError:
            pass  # it ended just now
    return ns / 1e6


def value_of(body):
    result = json.loads(body)["data"]["result"]
    return result[0]["value"][1] if result else None


# --- the report -----------------------------------------------------------------------------------------------------------

def shown(x):
    return "–" if x is None else f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"


def report(b, out):
    labels = [s.label for s in b.servers]
    peers = labels[1:]
    cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    print(f"\n{datetime.date.today()}, {os.cpu_count()} CPUs ({cpu}), Linux {platform.release()}, "
          f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB. Medians; below 1 in a ratio is better for us. "
          f"Load average at the end {os.getloadavg()[1]:.1f}.", file=out)
    if getattr(b, "data", None):
        print(f"Data: {b.data['label_bytes_per_series']:.0f} bytes of labels per series, {b.data['constant_share'] * 100:.0f} % "
              "constant series.", file=out)
    head = "| job | unit | " + " | ".join(labels) + "".join(f" | ÷ {p}" for p in peers) + " |"
    print("\n" + head + "\n|" + "---|" * (2 + len(labels) + len(peers)), file=out)
    for (job, unit), values in b.figures.items():
        medians = [statistics.median(values[l]) if l in values else None for l in labels]
        ratios = ["–" if m is None or medians[0] is None or m == 0 else f"{medians[0] / m:.3f}" for m in medians[1:]]
        print(f"| {job} | {unit} | " + " | ".join(map(shown, medians)) + "".join(f" | {r}" for r in ratios) + " |", file=out)
    ours = b.bodies.get(labels[0], {})
    for peer in peers:
        theirs = b.bodies.get(peer, {})
        both = [q for q in ours if q in theirs]
        empty = [q for q in both if not answers.points(ours[q]) and not answers.points(theirs[q])]
        differ = [(q, d) for q in both if (d := answers.compare(ours[q], theirs[q]))]
        print(f"\nAnswers compared with {peer}: {len(both) - len(differ)} of {len(both)} equal within 1e-9, "
              f"{len(empty)} of them empty.", file=out)
        for q in empty:
            print(f"- {q}: EMPTY on both sides; its time says nothing", file=out)
        for q, d in differ:
            print(f"- {q}: {d}", file=out)
    for q, body in ours.items():
        if "900 K" in q:
            print(f"\n{q}: {answers.points(body)} points, {len(body)} bytes.", file=out)
    for n in b.notes:
        print(f"- {n}", file=out)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("build")
    p.add_argument("--quick", action="store_true", help="two minutes: fewer series, one run, no million")
    p.add_argument("--only", default="main,million,month", help="stages")
    p.add_argument("--servers", type=lambda s: s.lower().split(","), default=None)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--budget-ms", type=float, default=None)
    p.add_argument("--work", default=None, help="folder for data; a temporary one otherwise")
    p.add_argument("--keep", action="store_true")
    p.add_argument("--json", default=None)
    a = p.parse_args()
    a.budget_ms = a.budget_ms or (100 if a.quick else 500)
    work = a.work or tempfile.mkdtemp(prefix="kofstore-bench-")
    os.makedirs(work, exist_ok=True)
    b = Bench(a, work)
    stages = {"main": b.hundred_thousand, "million": b.a_million, "month": b.a_month}
    try:
        for name in a.only.split(","):
            stages[name]()
    finally:
        for s in b.servers:
            s.stop(signal.SIGKILL)
        report(b, sys.stdout)
        if a.json:
            with open(a.json, "w") as f:
                json.dump([{"job": j, "unit": u, "values": v} for (j, u), v in b.figures.items()], f, indent=1)
        if not a.work and not a.keep:
            shutil.rmtree(work, ignore_errors=True)


main()
