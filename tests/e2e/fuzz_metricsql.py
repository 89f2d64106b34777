#!/usr/bin/env python3
"""Random MetricsQL against a real VictoriaMetrics holding the same samples: answers must agree in status, series, points and values.
Not part of the quick tests.

    fuzz_metricsql.py [--count 3000] [--seed N] [--show 20] [--jobs 4]

The peer is $KS_PEERS/victoria-metrics or the one on $PATH; without it the run is skipped. The seed is printed and repeats the run.
Differences that are known and meant are named in KNOWN below, with who is right.
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
from answers_lib import ask, differ_series, write_request

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
STEP = 15000
SPAN = 240  # samples per series

# (pattern of the query, pattern of the difference, why): differences that stay.
KNOWN = [
    # Filters of one side are pushed to the other as for arithmetic, so `a default b{x="y"}` loses series of a. We are right.
    (r"\bdefault\b", r"series: extra|: \d+ points|at \d|duplicate time series", "default"),
    # A duration before a comparison is not turned round as other numbers are: `1h > q` gives the hour, not q. We treat both alike.
    (r"(5m|1h30m|1i)\)* (==|!=|>|<|>=|<=)", r"", "duration"),
    (r"(==|!=|>|<|>=|<=) (bool )?\(*(5m|1h30m|1i)", r"at \d|missing", "duration"),
    # sgn() and range_stddev() of no value are 0 there, which fills every gap; the calendar functions give a date for infinity.
    (r"\b(sgn|range_std\w+|minute|hour|day_of_\w+|days_in_month|month|year)\(", r"points|missing|at \d", "no value"),
    # These drop the metric name whatever the query says.
    (r"\b(running|range)_(avg|sum|min|max)\(.* keep_metric_names", r"__name__", "keep_metric_names"),
    # absent() gives empty labels there.
    (r"\babsent(_over_time)?\(", r'": ""', "absent"),
    # Later versions drop buckets nobody hit at either end first.
    (r"\bbuckets_limit\(", r"", "buckets_limit"),
    # Later versions, and we, take what a comparison on the right filtered out as gone, not as a NaN to compare with.
    (r"(==|!=|>|<|>=|<=).*(==|!=|>|<|>=|<=)", r"points|missing", "comparison of comparison"),
    # Samples as stored: the peer shows stale markers as NaN and does not look at @.
    (r"^[^()]*\[[^\]]*\]( (offset|@) .*)?$", r"points|missing", "raw"),
    # Of equal deviations (all, where a series has a gap) which one ranks highest is not said.
    (r"\boutliersk\(", r"", "ties"),
    # The label a rollup adds is pushed down as a filter to where it is not yet.
    (r"(aggr|quantiles|count_values|histogram)_over_time|rollup", r"missing \[\]|points", "pushed"),
    # Of duplicates that overlap in one or two points the first counts, in whatever order.
    (r"(on|ignoring)\(", r"at \d", "duplicates"),
    # A label appears from memory used before.
    (r"label_(uppercase|lowercase|join|map)\(", r"missing", "stale label"),
    # We do not evaluate the right side where the left is empty, so what is wrong there does not show.
    (r"", r"status 200 success, want 422 .*duplicate time series", "lazy"),
]

MATHS = """abs ceil floor exp ln log2 log10 sqrt sgn sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh deg rad
    minute hour day_of_week day_of_month day_of_year days_in_month month year keep_last_value keep_next_value interpolate
    running_avg running_min running_max running_sum range_avg range_first range_last range_min range_max range_sum range_stddev
    range_stdvar range_mad range_linear_regression range_normalize range_zscore range_median remove_resets drop_empty_series
    vector absent scalar sort sort_desc drop_common_labels""".split()
ROLLUPS = """absent_over_time ascent_over_time avg_over_time changes changes_prometheus count_over_time decreases_over_time
    default_rollup delta delta_prometheus deriv deriv_fast descent_over_time distinct_over_time first_over_time geomean_over_time
    histogram_over_time idelta ideriv increase increase_prometheus increase_pure increases_over_time integrate irate lag
    last_over_time lifetime mad_over_time max_over_time median_over_time min_over_time mode_over_time outlier_iqr_over_time
    present_over_time range_over_time rate rate_over_sum rate_prometheus resets rollup rollup_candlestick rollup_delta rollup_deriv
    rollup_increase rollup_rate rollup_scrape_interval scrape_interval stale_samples_over_time stddev_over_time stdvar_over_time
    sum2_over_time sum_over_time tfirst_over_time timestamp timestamp_with_name tlast_change_over_time tlast_over_time
    tmax_over_time tmin_over_time zscore_over_time rate rate increase increase delta""".split()
AGGREGATES = """sum avg min max count group stddev stdvar median mode geomean sum2 distinct mad share zscore any histogram
    outliers_iqr sum sum count avg""".split()


def series(rnd):
    """[(labels, [(ms offset, value)])]: values of few digits, since the peer keeps some 15 of them."""
    out = []

    def add(name, labels, values):
        out.append((dict(labels, __name__=name), [(t, v) for t, v in values if v is not None]))

    def gaps(values):
        gap, run = 0, []
        for t, v in values:
            gap = rnd.randint(3, 40) if rnd.random() < 0.02 else gap - 1
            run.append((t, None if gap > 1 else STALE if gap == 1 and rnd.random() < 0.5 else v))
        return run
    grid = [k * STEP for k in range(SPAN)]
    for i in "123":
        for j in "xy":
            add("a", {"i": i, "j": j}, [(t, float(rnd.randint(-20, 20))) for t in grid])
            level, run = 0.0, []
            for t in grid:
                level = round(level * rnd.choice([0, 0.9]), 3) if rnd.random() < 0.02 else round(level + rnd.choice([0, 1, 2.5, 7, 0.125]), 3)
                run.append((t + int(i) * 1000, level))
            add("c_total", {"i": i, "j": j, "job": "p"}, run)
        add("b", {"i": i, "z": "q" + i}, [(t + 333, rnd.choice([0.0, 1.0, 2.0, t / 1000, 0.5])) for t in grid])
        add("info_metric", {"i": i, "z": "v" + i}, [(t, 1.0) for t in grid])
        add("g", {"i": i}, [(t, rnd.choice([100.25, -100.5, 1.0, 0.25, 0.0, math.inf, -math.inf, 5.0]) if rnd.random() < 0.1
                             else round(rnd.uniform(-50, 50), 2)) for t in grid])
        add("sparse", {"i": i, "j": "x"}, gaps([(t, round(rnd.uniform(-5, 5), 3)) for t in grid]))
        level, run = 0, []
        for t in grid:
            level = 0 if rnd.random() < 0.01 else level + rnd.randint(0, 5)
            run.append((t + rnd.randint(0, 40), float(level)))
        add("jitter_total", {"i": i, "job": "q"}, gaps(run))
        add("slow", {"i": i}, [(t, float(rnd.randint(0, 9))) for t in grid[:: 7 * int(i)]])
    add("one", {"job": "p"}, [(100 * STEP, 7.0)])
    add("late_total", {"job": "p"}, [(k * STEP, float(k - 120 + 500 * rnd.randint(0, 1))) for k in range(120, SPAN)])
    for job in "pq":
        counts = {le: 0.0 for le in ["0.1", "0.5", "1", "5", "+Inf"]}
        ranges = {r: 0.0 for r in ["0...0", "1.000e-01...1.136e-01", "4.642e-01...5.275e-01", "8.799e-01...1.000e+00", "1.0e+01...+Inf"]}
        rows, vmrows = {le: [] for le in counts}, {r: [] for r in ranges}
        for t in grid:
            x = rnd.choice([0.05, 0.3, 0.7, 2, 9])
            for le in counts:
                counts[le] += float(x <= float(le)) + (rnd.random() < 0.01)
                rows[le].append((t, counts[le]))
            ranges[rnd.choice(list(ranges))] += 1
            for r in ranges:
                vmrows[r].append((t, ranges[r]))
        for le in counts:
            add("h_bucket", {"job": job, "le": le}, rows[le])
        for r in ranges:
            add("vm_bucket", {"job": job, "vmrange": r}, vmrows[r])
    return sorted(out, key=lambda s: sorted(s[0].items()))


class Gen:
    def __init__(self, rnd):
        self.r = rnd
        self.base = 0

    def pick(self, *xs):
        return self.r.choice(xs)

    def number(self):
        return self.pick("0", "1", "2", "0.5", "-1", "3", "1.5", "1e3", "1Ki", "2K", "1M", "0.25", "5m", "1h30m", "10", "0x10", "1i",
                         "NaN", "Inf", "100")

    def small(self):
        return self.pick("0", "1", "2", "3", "0.5", "-1", "5")

    def phi(self):
        return self.pick("0", "0.1", "0.5", "0.9", "0.99", "1", "-1", "2")

    def duration(self):
        return self.pick("15s", "30s", "1m", "2m", "5m", "90s", "10m", "17s", "1h", "1m30s", "1i", "3i", "1.5m", "60")

    def matchers(self):
        one = lambda: self.pick('i="1"', 'i!="1"', 'i=~"1|2"', 'i!~"2.*"', 'j="x"', 'j=""', 'z=~".+"', 'job="p"', 'i=~"[12]"', 'j!=""')
        n = self.pick(0, 0, 0, 1, 1, 2)
        ms = ",".join(one() for _ in range(n))
        if self.r.random() < 0.08:
            ms += (" or " if ms else "") + one() if ms else one() + " or " + one()
        return "{" + ms + "}" if ms else ""

    def selector(self):
        x = self.r.random()
        if x < 0.05:
            return '{__name__=~"%s"%s}' % (self.pick("a|b", "c_total|jitter_total", "slow|sparse"), self.pick("", ',i="1"'))
        name = self.pick("a", "a", "b", "c_total", "c_total", "g", "info_metric", "sparse", "jitter_total", "slow", "h_bucket", "vm_bucket",
                         "one", "late_total")
        return name + self.matchers()

    def modifiers(self):
        if self.r.random() < 0.8:
            return ""
        return self.pick(" offset 1m", " offset -1m", " offset 1i", " @ start()", " @ end()", " @ %d" % (self.base // 1000 + 1800),
                         " offset 30s @ end()", " @ (end() - 5m)", " offset 2.5m")

    def atom(self, depth):
        return "(" + self.vector(depth) + ")"

    def matrix(self, depth):
        x = self.r.random()
        if x < 0.2 and depth > 0:
            return "%s[%s:%s]%s" % (self.atom(depth - 1), self.pick("2m", "5m", "90s", "3i"), self.pick("", "15s", "30s", "7s", "1i"),
                                    self.modifiers())
        if x < 0.27 and depth > 0:
            return self.atom(depth - 1)
        if x < 0.37:
            return self.selector() + self.modifiers()
        return "%s[%s]%s" % (self.selector(), self.duration(), self.modifiers())

    def keep(self):
        return " keep_metric_names" if self.r.random() < 0.07 else ""

    def rollup(self, depth):
        m = self.matrix(depth)
        x = self.r.random()
        if x < 0.78:
            f = self.r.choice(ROLLUPS)
            if f.startswith("rollup") and self.r.random() < 0.4:
                m += self.pick(', "min"', ', "max"', ', "avg"') if f != "rollup_candlestick" else self.pick(', "open"', ', "high"', ', "low"')
            return "%s(%s)%s" % (f, m, self.keep())
        return self.pick(
            "quantile_over_time(%s, %s)" % (self.phi(), m),
            'quantiles_over_time("phi", 0.1, %s, %s)' % (self.phi(), m),
            "predict_linear(%s, %s)" % (m, self.pick("60", "1h", "-30")),
            "holt_winters(%s, %s, 0.3)" % (m, self.pick("0.5", "0.1", "1")),
            "%s(%s, %s)" % (self.pick("hoeffding_bound_lower", "hoeffding_bound_upper"), self.pick("0.9", "0.5", "0.1"), m),
            "duration_over_time(%s, %s)" % (m, self.pick("15s", "30s", "1m", "20")),
            "%s(%s, %s)" % (self.pick(*["%s_over_time" % f for f in (
                "count_eq", "count_ne", "count_gt", "count_le", "share_eq", "share_gt", "share_le", "sum_eq", "sum_gt", "sum_le")]), m, self.small()),
            'count_values_over_time("v", %s)' % m,
            'aggr_over_time(%s, %s)' % (self.pick('("min_over_time", "max_over_time")', '"rate"', '("avg_over_time", "count_over_time", "increase")'), m),
        ) + self.keep()

    def grouping(self):
        names = self.r.sample(["i", "j", "z", "le", "job", "__name__"], self.pick(0, 1, 1, 2))
        return self.pick("", " by (%s)" % ", ".join(names), " without (%s)" % ", ".join(names))

    def aggregate(self, depth):
        x, arg, by = self.r.random(), self.vector(depth), self.grouping()
        if x < 0.72:
            f = self.r.choice(AGGREGATES)
            if self.r.random() < 0.05:
                arg += ", " + self.vector(depth - 1)
            # Which series of a group any() gives, and which groups are within the limit, depends on the order of series.
            if f == "any":
                return "count(any(%s)%s)" % (self.pick("a", "h_bucket", "rate(a[5m])"), by)
            if self.r.random() < 0.03:  # which groups are within the limit depends on the order of series
                return "count(%s(a) by (i)%s)" % (f, self.pick(" limit 1", " limit 2"))
            return "%s(%s)%s" % (f, arg, by)
        k = self.pick("1", "2", "3", "0", "100")
        other = self.pick("", "", ', "i=rest"')
        return self.pick(
            "quantile(%s, %s)%s" % (self.phi(), arg, by),
            'quantiles("phi", 0.2, %s, %s)%s' % (self.phi(), arg, by),
            'count_values("v", round(%s, 0.5))%s' % (self.pick(self.selector(), "clamp(%s, -100, 100)" % arg), by),
            "%s(%s, %s)%s" % (self.pick("topk", "bottomk"), k, self.unique(), by),
            "%s(%s, %s%s)%s" % (self.pick(*["%s_%s" % (t, f) for t in ("topk", "bottomk") for f in ("avg", "min", "max", "median", "last")]),
                                k, self.unique(), other, by),
            "outliersk(%s, %s)%s" % (k, self.pick("a", "rate(c_total[5m])", "a * 1.37"), by),
            "outliers_mad(%s, %s)%s" % (self.small(), arg, by),
            "count(limitk(%s, %s)%s)" % (k, self.pick("a", "h_bucket", "rate(a[5m])"), by),
        )

    def unique(self):
        """Values that are hardly ever equal, so that ties need no order."""
        return self.pick("sparse", "rate(jitter_total[10m]) + sparse * 0.001", "avg_over_time(sparse[5m])", "sparse{i!=\"2\"} * 3",
                         "stddev_over_time(g{i=~\"1|2\"}[5m]) * 1.37")

    def binary(self, depth):
        x = self.r.random()
        op = self.pick("+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "== bool", "> bool", "<= bool", "!= bool",
                       "if", "ifnot", "default", "default", "if")
        l, r = self.atom(depth), self.atom(depth)
        keep = self.keep()
        if x < 0.3:
            n = self.scalar(1)
            return ("%s %s %s%s" if self.r.random() < 0.6 else "%s %s %s%s") % ((l, op, n, keep) if self.r.random() < 0.6 else (n, op, l, keep))
        matching = self.pick("", "", "on(i)", "on(i, j)", "ignoring(j)", "ignoring(z, j, job)", "on()")
        if x < 0.5:
            return "%s %s %s %s" % (l, self.pick("and", "or", "unless", "default", "if", "ifnot"), matching, r)
        join = self.pick("", "", "group_left()", "group_right()", "group_left(z)", "group_right(z)", 'group_left(*) prefix "p_"') if matching else ""
        if op.split()[0] in ("if", "ifnot", "default"):
            join = ""
        return "%s %s %s %s %s%s" % (l, op, matching, join, r, keep)

    def scalar(self, depth):
        x = self.r.random()
        if x < 0.75 or depth <= 0:
            return self.number()
        return self.pick("time()", "pi()", "step()", "start()", "end()", "scalar(%s)" % self.vector(depth - 1), "(%s %s %s)" % (
            self.scalar(depth - 1), self.pick("+", "-", "*", "/", "%", "^", "> bool", "== bool", "default", ">", "if"), self.scalar(depth - 1)))

    def label_function(self, v):
        i, j = self.pick("i", "j", "z", "new"), self.pick("i", "j", "job", "__name__")
        return self.pick(
            'label_set(%s, "%s", "x", "other", "y")' % (v, i),
            'label_set(%s, "%s", "")' % (v, j),
            'label_del(%s, "%s", "z")' % (v, j),
            'label_keep(%s, "i", "%s")' % (v, j),
            'label_copy(%s, "%s", "%s")' % (v, j, i),
            'label_move(%s, "%s", "%s")' % (v, j, i),
            'label_join(%s, "%s", "-", "i", "j")' % (v, i),
            'label_replace(%s, "%s", "%s", "%s", "%s")' % (v, i, self.pick("$1", "x-$1", "", "${1}y"), j, self.pick("(.*)", "(1)|(2)", "x", "[12]", "(.+)")),
            'label_transform(%s, "%s", "%s", "%s")' % (v, j, self.pick("[0-9]", "x", "_"), self.pick("n", "", "$0$0")),
            'label_map(%s, "%s", "1", "one", "x", "ex")' % (v, j),
            'label_value(%s, "%s")' % (v, self.pick("i", "le", "j")),
            'label_lowercase(%s, "%s")' % (v, j),
            'label_uppercase(%s, "%s")' % (v, j),
            'label_match(%s, "%s", "%s")' % (v, j, self.pick("1", "x|y", ".*_total", "")),
            'label_mismatch(%s, "%s", "%s")' % (v, j, self.pick("1", "x|y", ".*_total", "")),
            'labels_equal(%s, "i", "%s")' % (v, j),
            'label_graphite_group(%s, 0)' % v,
            'alias(%s, "renamed")' % v,
        )

    def histogram_function(self, v):
        b = self.pick("h_bucket", "vm_bucket", "rate(h_bucket[5m])", "increase(vm_bucket[5m])", "sum(rate(h_bucket[2m])) by (le)",
                      "sum(rate(vm_bucket[2m])) by (vmrange)", "histogram_over_time(g[5m])", "histogram(a)", v)
        return self.pick(
            "histogram_quantile(%s, %s)" % (self.phi(), b),
            'histogram_quantile(%s, %s, "bound")' % (self.phi(), b),
            'histogram_quantiles("phi", %s, 0.5, %s)' % (self.phi(), b),
            "histogram_share(%s, %s)" % (self.small(), b),
            "histogram_fraction(%s, %s, %s)" % (self.small(), self.small(), b),
            "histogram_avg(%s)" % b, "histogram_stddev(%s)" % b, "histogram_stdvar(%s)" % b,
            "prometheus_buckets(%s)" % b, "buckets_limit(%s, %s)" % (self.pick("2", "3", "5"), b))

    def function(self, depth):
        v, x = self.vector(depth), self.r.random()
        if x < 0.45:
            return "%s(%s)%s" % (self.r.choice(MATHS), v, self.keep())
        if x < 0.65:
            return self.label_function(v)
        if x < 0.78:
            return self.histogram_function(v)
        return self.pick(
            "round(%s%s)" % (v, self.pick("", ", 5", ", 0.1", ", 0.25")),
            "clamp(%s, %s, %s)" % (v, self.small(), self.small()),
            "%s(%s, %s)" % (self.pick("clamp_min", "clamp_max"), v, self.scalar(1)),
            "%s(%s, %s)" % (self.pick("bitmap_and", "bitmap_or", "bitmap_xor"), v, self.pick("1", "6", "255")),
            "range_quantile(%s, %s)" % (self.phi(), v),
            "range_trim_outliers(%s, %s)" % (self.small(), v), "range_trim_spikes(%s, %s)" % (self.pick("0.1", "0.5", "0"), v),
            "range_trim_zscore(%s, %s)" % (self.small(), v),
            "smooth_exponential(%s, %s)" % (v, self.pick("0.1", "0.5", "1", "0")),
            "limit_offset(%s, %s, %s)" % (self.pick("1", "2", "10"), self.pick("0", "1"), 'sort_by_label(%s, "i", "j", "le", "vmrange", "z", "job", "__name__", "phi", "v", "rollup")' % v),
            "union(%s, %s)" % (v, self.vector(depth - 1)), "(%s, %s)" % (v, self.vector(depth - 1)),
            '%s(%s, "i", "j")' % (self.pick("sort_by_label", "sort_by_label_desc", "sort_by_label_numeric", "sort_by_label_numeric_desc"), v),
            "rand(%s)" % self.pick("1", "42"), "rand_normal(3)", "rand_exponential(5)", 'timezone_offset("%s")' % self.pick("UTC", "Europe/Berlin"),
            "ru(%s, %s)" % (v, self.number()), "ttf(%s)" % v, "time()", "%s()" % self.pick("minute", "hour", "day_of_week", "start", "end", "step"),
        )

    def with_template(self, depth):
        return self.pick(
            "WITH (x = %s) x + x" % self.vector(depth),
            "WITH (f(q) = sum(q) by (i), x = %s) f(x)" % self.vector(depth),
            'WITH (flt = {i=~"1|2"}) sum(a{flt}) by (i) + on(i) sum(c_total{flt, j="x"}) by (i)',
            "WITH (r(m, w) = rate(m[w])) r(%s, 5m)" % self.pick("c_total", "jitter_total{i=\"1\"}"),
            "WITH (half(x) = x / 2, g(x) = half(x) + 1) g(%s)" % self.vector(depth))

    def vector(self, depth):
        if depth <= 0 or self.r.random() < 0.1:
            return self.selector() + self.modifiers()
        kind = self.r.random()
        if kind < 0.28:
            return self.rollup(depth - 1)
        if kind < 0.48:
            return self.aggregate(depth - 1)
        if kind < 0.70:
            return self.binary(depth - 1)
        if kind < 0.73:
            return "-" + self.atom(depth - 1)
        if kind < 0.75:
            return self.with_template(depth - 1)
        if kind < 0.78:
            return self.atom(depth - 1) + self.modifiers()
        return self.function(depth - 1)

    def query(self):
        x = self.r.random()
        if x < 0.02:
            return "%s[%s]%s" % (self.selector(), self.duration(), self.modifiers())
        if x < 0.05:
            return self.scalar(3)
        return self.vector(self.pick(1, 1, 2, 2, 3))


def differ(want, got, ordered):
    (ws, w), (gs, g) = want, got
    if w["status"] != g["status"]:
        return "status %d %s, want %d %s" % (gs, g.get("error", g["status"]), ws, w.get("error", w["status"]))
    if w["status"] == "error":
        return None  # 1.145 gives 422 where later versions and we give 400
    wd, gd = w["data"], g["data"]
    if wd["resultType"] != gd["resultType"]:
        return "type %s, want %s" % (gd["resultType"], wd["resultType"])
    return differ_series(wd["result"], gd["result"], ordered)


@contextlib.contextmanager
def victoria(binary):
    with tempfile.TemporaryDirectory() as folder:
        port = lib.free_port()
        with lib.started([binary, "-storageDataPath=" + os.path.join(folder, "data"), "-httpListenAddr=127.0.0.1:%d" % port,
                          "-retentionPeriod=100y", "-search.disableCache", "-loggerLevel=ERROR"], port, "/health", "victoria-metrics") as s:
            yield s.base


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--count", type=int, default=3000)
    ap.add_argument("--seed", type=int, default=int(time.time()))
    ap.add_argument("--show", type=int, default=20)
    ap.add_argument("--jobs", type=int, default=4)
    args = ap.parse_args()
    binary = lib.peer("victoria-metrics")
    if not binary:
        return
    print("seed", args.seed)
    rnd = random.Random(args.seed)
    base = (int(time.time()) - 2 * 3600) // 60 * 60000
    with contextlib.ExitStack() as stack:
        ref = stack.enter_context(victoria(binary))
        own = stack.enter_context(lib.kofstore()).base
        body = write_request(series(rnd), base)
        for url in (ref, own):
            req = urllib.request.Request(url + "/api/v1/write", body, {
                "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"})
            urllib.request.urlopen(req, timeout=60).read()
            urllib.request.urlopen(url + "/internal/force_flush", timeout=60).read()
        gen = Gen(rnd)
        gen.base = base
        work = []
        for _ in range(args.count):
            q = gen.query()
            at = base // 1000 + rnd.randint(0, SPAN * STEP // 1000 + 400)
            a = {"query": q, "nocache": "1"}
            if rnd.random() < 0.4:
                a["time"] = str(at)
                if rnd.random() < 0.3:
                    a["step"] = rnd.choice(["15s", "1m", "77s"])
                work.append((q, "query", a))
            else:
                step = rnd.choice([15, 30, 60, 77])
                work.append((q, "query_range", dict(a, start=str(at), end=str(at + step * rnd.randint(0, 80)), step=str(step))))

        def run(item):
            q, path, a = item
            ordered = bool(re.match(r"sort_by_label[a-z_]*\((a|b|slow|sparse)[{,]", q))
            want = ask(ref + "/api/v1/" + path, a)
            got = ask(own + "/api/v1/" + path, a)
            return item, differ(want, got, ordered), want[1]["status"]
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            results = list(pool.map(run, work))
    known = lambda q, d: any(re.search(k, q) and re.search(e, d) for k, e, _ in KNOWN)
    bad = [(i, d) for i, d, _ in results if d and not known(i[0], d)]
    meant = sum(1 for i, d, _ in results if d and known(i[0], d))
    bad.sort(key=lambda x: len(x[0][0]))
    for (q, path, a), d in bad[: args.show]:
        print("%s %s\n   %s\n   %s" % (path, {k: v for k, v in a.items() if k not in ("query", "nocache")}, q, d))
    errors = sum(1 for _, _, s in results if s == "error")
    print("%d of %d answers were errors, %d differ as meant" % (errors, len(results), meant))
    print("%d passed, %d failed" % (len(results) - len(bad), len(bad)))
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
