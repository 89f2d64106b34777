#!/usr/bin/env python3
"""Random strict PromQL against a real Prometheus holding the same samples: answers must agree in type, series, values, order,
annotations and error texts. Not part of the quick tests.

    fuzz_promql.py [--count 3000] [--seed N] [--show 20]

The peer is $KS_PEERS/prometheus or the one on $PATH; without it the run is skipped. The seed is printed and repeats the run.
"""
import argparse
import concurrent.futures
import contextlib
import math
import os
import random
import re
import struct
import tempfile
import time
import urllib.request

import ingest_lib as lib
from answers_lib import ask, close, differ_series, write_request

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
STEP = 15000
SPAN = 240  # samples per series

VECTORS = ["a", "b", "c_total", "g", "info_metric", "sparse", "odd"]
LABELS = ["i", "j", "z", "le", "job"]


def series(rnd):
    """[(labels, [(ms offset, value)])]"""
    out = []

    def add(name, labels, values):
        out.append((dict(labels, __name__=name), [(k, v) for k, v in values if v is not None]))
    grid = [k * STEP for k in range(SPAN)]
    for i in "123":
        for j in "xy":
            add("a", {"i": i, "j": j}, [(t, float(rnd.randint(-20, 20))) for t in grid])
            level, run = 0.0, []
            for t in grid:
                level = 0.0 if rnd.random() < 0.02 else level + rnd.choice([0, 1, 2.5, 7, 0.1])
                run.append((t + int(i) * 1000, level))
            add("c_total", {"i": i, "j": j, "job": "p"}, run)
        add("b", {"i": i, "z": "q" + i}, [(t + 333, rnd.choice([0.0, 1.0, 2.0, float(t), 0.1])) for t in grid])
        add("info_metric", {"i": i, "z": "v" + i}, [(t, 1.0) for t in grid])
        add("g", {"i": i}, [(t, rnd.choice([1e100, -1e100, 1.0, 0.3, -0.0, math.inf, -math.inf, math.nan, 5.0])) for t in grid])
        stale, gap = [], 0
        for t in grid:
            gap = rnd.randint(5, 40) if rnd.random() < 0.03 else gap - 1
            stale.append((t, None if gap > 1 else STALE if gap == 1 else rnd.uniform(-5, 5)))
        add("sparse", {"i": i, "j": "x"}, stale)
        add("odd", {"i": i, "9 strange é": "u"}, [(t, float(rnd.randint(0, 3))) for t in grid[:: int(i)]])
    for job in "pq":
        counts = {le: 0.0 for le in ["0.1", "0.5", "1", "5", "+Inf"]}
        rows = {le: [] for le in counts}
        for t in grid:
            x = rnd.choice([0.05, 0.3, 0.7, 2, 9])
            for le in counts:
                counts[le] += float(x <= float(le)) + (rnd.random() < 0.01)
                rows[le].append((t, counts[le]))
        for le in counts:
            add("h_bucket", {"job": job, "le": le}, rows[le])
    # Prometheus picks among equals in the order of creation, the server in the order of labels.
    return sorted(out, key=lambda s: sorted(s[0].items()))


class Gen:
    def __init__(self, rnd):
        self.r = rnd

    def pick(self, *xs):
        return self.r.choice(xs)

    def duration(self):
        return self.pick("15s", "30s", "1m", "2m", "5m", "90s", "10m", "17s", "1h", "1m30s", "1m+1m", "30s*3")

    def modifiers(self):
        x = self.r.random()
        if x < 0.75:
            return ""
        return self.pick(" offset 1m", " offset -1m", " @ start()", " @ end()", " @ %d" % (self.base // 1000 + 1800),
                         " offset 30s @ end()")

    def matchers(self):
        n = self.pick(0, 0, 0, 1, 1, 2)
        ms = [self.pick('i="1"', 'i!="1"', 'i=~"1|2"', 'i!~"2.*"', 'j="x"', 'j=""', 'z=~".+"', 'job="p"', '"9 strange é"="u"')
              for _ in range(n)]
        return "{" + ",".join(ms) + "}" if ms else ""

    def selector(self):
        if self.r.random() < 0.05:
            return '{__name__=~"a|b"%s}' % self.pick("", ',i="1"')
        name = self.pick(*VECTORS, "h_bucket")
        return name + self.matchers()

    def vector(self, depth):
        if depth <= 0 or self.r.random() < 0.12:
            return self.selector() + self.modifiers()
        kind = self.r.random()
        if kind < 0.22:
            return self.rollup(depth - 1)
        if kind < 0.42:
            return self.aggregate(depth - 1)
        if kind < 0.68:
            return self.binary(depth - 1)
        if kind < 0.72:
            return "-" + self.atom(depth - 1)
        if kind < 0.76:
            return "(" + self.vector(depth - 1) + ")"
        return self.function(depth - 1)

    def atom(self, depth):
        return "(" + self.vector(depth) + ")"

    def matrix(self, depth):
        if self.r.random() < 0.25:
            return "(%s)[%s:%s]%s" % (self.vector(depth - 1), self.pick("2m", "5m", "90s"), self.pick("", "15s", "30s", "7s"),
                                      self.modifiers())
        return "%s[%s]%s" % (self.selector(), self.duration(), self.modifiers())

    def rollup(self, depth):
        f = self.pick("rate", "rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets", "sum_over_time",
                      "avg_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time", "present_over_time",
                      "absent_over_time", "stddev_over_time", "stdvar_over_time", "mad_over_time", "quantile", "predict", "smooth",
                      "ts_of_max_over_time", "ts_of_min_over_time", "ts_of_last_over_time")
        m = self.matrix(depth)
        if f == "quantile":
            return "quantile_over_time(%s, %s)" % (self.scalar(0), m)
        if f == "predict":
            return "predict_linear(%s, %s)" % (m, self.pick("60", "3600", "-30"))
        if f == "smooth":
            return "double_exponential_smoothing(%s, %s, 0.3)" % (m, self.pick("0.5", "0.1", "1"))
        return "%s(%s)" % (f, m)

    def scalar(self, depth):
        x = self.r.random()
        if x < 0.8 or depth <= 0:
            return self.pick("0", "1", "2", "0.5", "0.9", "-1", "NaN", "1.5", "3", "1e3", "Inf", "0.25")
        return self.pick("time()", "pi()", "scalar(%s)" % self.vector(depth - 1), "(%s %s %s)" % (
            self.scalar(depth - 1), self.pick("+", "-", "*", "/", "%", "^", "> bool", "== bool"), self.scalar(depth - 1)))

    def grouping(self):
        names = self.r.sample(LABELS + ["__name__"], self.pick(0, 1, 1, 2))
        return self.pick("", " by (%s)" % ", ".join(names), " without (%s)" % ", ".join(names))

    def aggregate(self, depth):
        f = self.pick("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile", "topk", "bottomk", "limitk",
                      "limit_ratio", "count_values")
        arg = self.vector(depth)
        if f == "count_values":
            # Sines and the like differ in their last digit, which shows in a label.
            arg = self.pick(self.selector(), "round(%s)" % arg, "sgn(%s)" % arg)
            return 'count_values%s("%s", %s)' % (self.grouping(), self.pick("v", "i", "z"), arg)
        if f in ("topk", "bottomk", "limitk"):
            # Behind functions Prometheus keeps series in random order, and takes the first of equals.
            return "%s%s(%s, %s)" % (f, self.grouping(), self.scalar(1), self.selector())
        if f == "limit_ratio":
            return "limit_ratio%s(%s, %s)" % (self.grouping(), self.pick("0.5", "-0.3", "1", "2", "-0.5", "0"), arg)
        if f == "quantile":
            arg = self.vector(depth) if self.r.random() < 0.5 else self.selector()
            return "%s%s(%s, %s)" % (f, self.grouping(), self.scalar(1), arg)
        return "%s%s(%s)" % (f, self.grouping(), arg)

    def binary(self, depth):
        x = self.r.random()
        ops = ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "== bool", "> bool", "<= bool", "!= bool"]
        op = self.pick(*ops)
        if x < 0.3:
            l, r = self.atom(depth), self.scalar(1)
            return "%s %s %s" % ((l, op, r) if self.r.random() < 0.6 else (r, op, l))
        matching = self.pick("", "", "on(i)", "on(i, j)", "ignoring(j)", "ignoring(z, j, job)", "on()")
        l, r = self.atom(depth), self.atom(depth)
        if x < 0.5:
            return "%s %s %s %s" % (l, self.pick("and", "or", "unless"), matching, r)
        join = self.pick("", "", "group_left", "group_right", "group_left(z)", "group_right(z)") if matching else ""
        return "%s %s %s %s %s" % (l, op, matching, join, r)

    def function(self, depth):
        f = self.pick("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sin", "cos", "atan", "sinh", "deg", "rad",
                      "round", "clamp", "clamp_min", "clamp_max", "absent", "sort", "sort_desc", "timestamp", "hour", "minute",
                      "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year", "vector", "label_replace",
                      "label_join", "histogram_quantile", "histogram_quantile", "histogram_fraction", "sort_by_label",
                      "sort_by_label_desc", "histogram_count", "histogram_avg")
        v = self.vector(depth)
        if f == "round":
            return "round(%s%s)" % (v, self.pick("", ", 5", ", 0.1", ", 0"))
        if f == "clamp":
            return "clamp(%s, %s, %s)" % (v, self.scalar(0), self.scalar(0))
        if f in ("clamp_min", "clamp_max"):
            return "%s(%s, %s)" % (f, v, self.scalar(1))
        if f in ("hour", "minute", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"):
            return self.pick("%s()" % f, "%s(c_total * 86400)" % f, "%s(timestamp(%s))" % (f, self.selector()))
        if f == "vector":
            return "vector(%s)" % self.scalar(2)
        if f == "label_replace":
            return 'label_replace(%s, "%s", "%s", "%s", "%s")' % (
                v, self.pick("new", "i", "__name__", "j"), self.pick("$1", "x-$1", "", "${1}y"), self.pick("i", "j", "__name__"),
                self.pick("(.*)", "(1)|(2)", "x", "[12]", "(.+)"))
        if f == "label_join":
            return 'label_join(%s, "%s", "-", "i", "j")' % (v, self.pick("new", "i", "__name__"))
        if f == "histogram_quantile":
            return "histogram_quantile(%s, %s)" % (self.scalar(0), self.pick(
                "h_bucket", "rate(h_bucket[5m])", "sum by (le) (rate(h_bucket[2m]))", v))
        if f == "histogram_fraction":
            return "histogram_fraction(%s, %s, %s)" % (self.scalar(0), self.scalar(0), self.pick("h_bucket", "rate(h_bucket[5m])"))
        if f.startswith("sort_by_label"):
            return '%s(%s, "%s")' % (f, v, self.pick("i", "job"))  # natural order of an empty text is undefined there
        return "%s(%s)" % (f, v)

    def query(self):
        x = self.r.random()
        if x < 0.03:
            return self.matrix(2)
        if x < 0.06:
            return self.scalar(3)
        return self.vector(self.pick(1, 2, 2, 3))


def differ(want, got, ordered):
    (ws, w), (gs, g) = want, got
    if w["status"] != g["status"] or ws != gs:
        return "status %d %s, want %d %s" % (gs, g.get("error", g["status"]), ws, w.get("error", w["status"]))
    if w["status"] == "error":
        if w["errorType"] != g["errorType"]:
            return "errorType %s, want %s" % (g["errorType"], w["errorType"])
        # Which pair of duplicates is named depends on the order of series.
        cut = [re.sub(r"match group .*", "", x["error"]) for x in (w, g)]
        return None if cut[0] == cut[1] else "error %r, want %r" % (g["error"], w["error"])
    for k in ("warnings", "infos"):
        a, b = sorted(w.get(k) or []), sorted(g.get(k) or [])
        if a != b and len(a) < 10:
            return "%s %s, want %s" % (k, b, a)
    wd, gd = w["data"], g["data"]
    if wd["resultType"] != gd["resultType"]:
        return "type %s, want %s" % (gd["resultType"], wd["resultType"])
    if wd["resultType"] in ("scalar", "string"):
        same = close(wd["result"][1], gd["result"][1])
        return None if same else "value %s, want %s" % (gd["result"], wd["result"])
    return differ_series(wd["result"], gd["result"], ordered)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--count", type=int, default=3000)
    ap.add_argument("--seed", type=int, default=int(time.time()))
    ap.add_argument("--show", type=int, default=20)
    args = ap.parse_args()
    prometheus = lib.peer("prometheus")
    if not prometheus:
        return
    print("seed", args.seed)
    rnd = random.Random(args.seed)
    base = (int(time.time()) - 2 * 3600) // 60 * 60000
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        with open(os.path.join(folder, "p.yml"), "w") as f:
            f.write("global: {}\n")
        port = lib.free_port()
        ref = stack.enter_context(lib.started(
            [prometheus, "--config.file=" + folder + "/p.yml", "--storage.tsdb.path=" + folder + "/tsdb",
             "--web.enable-remote-write-receiver", "--web.listen-address=127.0.0.1:%d" % port, "--log.level=error",
             "--enable-feature=promql-experimental-functions,promql-duration-expr"], port, "/-/healthy", "prometheus")).base
        own = stack.enter_context(lib.kofstore()).base
        body = write_request(series(rnd), base)
        for url in (ref, own):
            req = urllib.request.Request(url + "/api/v1/write", body, {
                "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
                "X-Prometheus-Remote-Write-Version": "0.1.0"})
            urllib.request.urlopen(req, timeout=60).read()
        gen = Gen(rnd)
        gen.base = base
        work = []
        for _ in range(args.count):
            q = gen.query()
            at = base / 1000 + rnd.randint(0, SPAN * STEP // 1000 + 400)
            if rnd.random() < 0.5:
                work.append((q, "query", {"query": q, "time": "%.3f" % at}))
            else:
                step = rnd.choice([15, 30, 60, 77])
                work.append((q, "query_range", {"query": q, "start": "%.3f" % at, "end": "%.3f" % (at + step * rnd.randint(0, 20)),
                                                "step": str(step)}))

        def run(item):
            q, path, a = item
            ordered = path == "query_range" or bool(re.match(r"sort_by_label(_desc)?\(", q))
            if path == "query" and re.match(r"sort(_desc)?\([^()]*\)$", q):
                ordered = "values"
            want = ask(ref + "/api/v1/" + path, a)
            got = ask(own + "/prometheus-strict/api/v1/" + path, a)
            return item, differ(want, got, ordered), want[1]["status"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            results = list(pool.map(run, work))
    bad = [(i, d) for i, d, _ in results if d]
    for (q, path, a), d in bad[: args.show]:
        print("%s %s\n   %s\n   %s" % (path, {k: v for k, v in a.items() if k != "query"}, q, d))
    errors = sum(1 for _, _, s in results if s == "error")
    print("%d of %d answers were errors" % (errors, len(results)))
    print("%d passed, %d failed" % (len(results) - len(bad), len(bad)))
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
