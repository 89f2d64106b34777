"""Compares two servers' answers to the same question."""
import json
import math


def near(a, b, tolerance=1e-9):
    if a == b:
        return True
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    if math.isnan(x) and math.isnan(y):
        return True
    return math.isclose(x, y, rel_tol=tolerance, abs_tol=1e-12)


def key_of(labels):
    return json.dumps(labels, sort_keys=True)


def rows(body):
    """{labels: [(time, value), …]} of a query's answer, a sorted list of anything else."""
    text = body.decode("utf-8", "replace")
    if text.startswith('{"metric"'):  # export: JSON lines, a series may come in pieces
        out = {}
        for line in text.splitlines():
            d = json.loads(line)
            out.setdefault(key_of(d["metric"]), []).extend(zip(d["timestamps"], d["values"]))
        return {k: sorted(v) for k, v in out.items()}
    data = json.loads(text)["data"]
    if isinstance(data, dict) and data.get("resultType") in ("vector", "matrix"):
        return {key_of(r["metric"]): [tuple(x) for x in r.get("values", [r.get("value")])] for r in data["result"]}
    if isinstance(data, list):
        return sorted(key_of(x) if isinstance(x, dict) else x for x in data)
    return data


def compare(ours, theirs):
    """'' when equal, else what differs first."""
    try:
        a, b = rows(ours), rows(theirs)
    except (ValueError, KeyError, TypeError) as e:
        return f"unreadable: {e}"
    if type(a) is not type(b):
        return "of different kinds"
    if isinstance(a, list):
        return "" if a == b else f"{len(a)} entries against {len(b)}, {len(set(a) ^ set(b))} differ"
    if a.keys() != b.keys():
        return f"{len(a)} series against {len(b)}, {len(a.keys() ^ b.keys())} differ"
    bad = worst = points = 0
    for k, x in a.items():
        y = b[k]
        points += len(x)
        if len(x) != len(y):
            bad += abs(len(x) - len(y))
            continue
        for (t, v), (u, w) in zip(x, y):
            if abs(float(t) - float(u)) > 1e-6 or not near(v, w):
                bad += 1
                try:
                    worst = max(worst, abs(float(v) - float(w)) / max(abs(float(w)), 1e-300))
                except ValueError:
                    pass
    return f"{bad} of {points} points differ, by up to {worst:.1e}" if bad else ""


def points(body):
    try:
        r = rows(body)
    except (ValueError, KeyError, TypeError):
        return 0
    return sum(map(len, r.values())) if isinstance(r, dict) else len(r)
