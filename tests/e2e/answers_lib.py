"""Metrics in and answers compared: for random queries put to a real peer and to kofstore, both holding the same samples."""
import json
import math
import urllib.error
import urllib.parse
import urllib.request

import ingest_lib as lib


def write_request(data, base):
    """A remote write body of [(labels, [(ms offset, value)])]."""
    body = b""
    for labels, samples in data:
        s = b"".join(lib.pb_bytes(1, lib.pb_bytes(1, k.encode()) + lib.pb_bytes(2, v.encode()))
                     for k, v in sorted(labels.items()))
        s += b"".join(lib.pb_bytes(2, lib.pb_double(1, v) + lib.pb_varint(2, base + t)) for t, v in samples)
        body += lib.pb_bytes(1, s)
    return lib.snappy(body)


def ask(url, args):
    data = urllib.parse.urlencode(args).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=60) as r:
            return r.status, json.loads(r.read())
    except urllib.error.HTTPError as e:
        body = e.read()
        try:
            return e.code, json.loads(body)
        except ValueError:
            return e.code, {"status": "error", "error": body.decode(errors="replace")}


def close(x, y):
    """Equal but for what the order of a sum's terms leaves: compensated, but far apart magnitudes leave a trace."""
    x, y = float(x), float(y)
    if math.isnan(x) or math.isnan(y):
        return math.isnan(x) and math.isnan(y)
    return x == y or abs(x - y) <= 1e-9 * max(abs(x), abs(y)) or (abs(x) < 1e-9 and abs(y) < 1e-9)


def points(s):
    return s["values"] if "values" in s else [s["value"]]


def key(s):
    return json.dumps(s["metric"], sort_keys=True)


def differ_series(want, got, ordered):
    """The first difference of two results in words, or None. ordered: by labels, or "values": equal ones may change places."""
    a, b = {key(s): s for s in want}, {key(s): s for s in got}
    if set(a) != set(b) or len(got) != len(b):
        return "series: extra %s, missing %s" % (sorted(set(b) - set(a))[:3], sorted(set(a) - set(b))[:3])
    if ordered == "values":
        p, q = ([s["value"][1] for s in x] for x in (want, got))
        return None if all(map(close, p, q)) else "order %s, want %s" % (q[:8], p[:8])
    if ordered and [key(s) for s in want] != [key(s) for s in got]:
        return "order %s, want %s" % ([key(s) for s in got][:6], [key(s) for s in want][:6])
    for k, s in a.items():
        p, q = points(s), points(b[k])
        if [x[0] for x in p] != [x[0] for x in q]:
            return "%s: %d points %s, want %d %s" % (k, len(q), q[:5], len(p), p[:5])
        for x, y in zip(p, q):
            if not close(x[1], y[1]):
                return "%s at %s: %s, want %s" % (k, x[0], y[1], x[1])
    return None
