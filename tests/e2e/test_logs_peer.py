#!/usr/bin/env python3
"""Log queries answered as a real victoria-logs answers them, on equal data.

    test_logs_peer.py [--corpus kof-logsql.jsonl] [--random N] [--seed S]

Needs a victoria-logs binary (KOFSTORE_VICTORIALOGS, KS_PEERS/victoria-logs or PATH) and KOFSTORE_BIN. Every
question goes to both; answers are compared as multisets of rows, in order where the query sorts. Of facets
only what ties cannot change is compared: the counts of the fields both name.
"""
import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

T0 = 1762200000
SPAN = 3600
AUDIT_T0 = 1762250400


def find_peer():
    for p in (os.environ.get("KOFSTORE_VICTORIALOGS"),
              os.path.join(os.environ.get("KS_PEERS", "/nowhere"), "victoria-logs"), shutil.which("victoria-logs")):
        if p and os.access(p, os.X_OK):
            return p
    return None


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def request(url, data=None, headers=None, timeout=60):
    req = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(req, timeout=timeout) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


class Server:
    def __init__(self, args, port):
        self.base = "http://127.0.0.1:%d" % port
        self.log = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(args, stdout=self.log, stderr=self.log)
        for _ in range(200):
            try:
                if request(self.base + "/health", timeout=2)[0] == 200:
                    return
            except OSError:
                pass
            if self.proc.poll() is not None:
                break
            time.sleep(0.05)
        self.log.seek(0)
        sys.exit("cannot start %s:\n%s" % (args[0], self.log.read().decode(errors="replace")[-2000:]))

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(30)


WORDS = "error failed connection timeout user login GET POST retry cache miss hit ImagePullBackOff".split()


def rows(rng, count):
    """KOF's shapes: container logs, Kubernetes events, audit events."""
    out = []
    for i in range(count):
        t = T0 * 10**9 + int(rng.random() * SPAN * 10**9)
        r = {"k8s.cluster.name": rng.choice(["mothership", "aws-ue2-child", "child-adopted"]),
             "k8s.namespace.name": rng.choice(["kof", "kcm-system", "default", "kube-system"])}
        kind = rng.random()
        if kind < 0.6:
            pod = rng.randrange(40)
            r.update({"k8s.node.name": "node-%d" % (pod % 5), "k8s.pod.name": "app-%d-%x" % (pod, pod * 7919),
                      "k8s.container.name": rng.choice(["main", "sidecar"])})
            sev = rng.choice(["INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR", "FATAL", ""])
            if sev:
                r[rng.choice(["severity_text", "severity"])] = sev
            r["_msg"] = rng.choice([
                "%s %s took %dms" % (rng.choice(WORDS), rng.choice(WORDS), rng.randrange(5000)),
                "request id=%016x user=%d ip=10.%d.%d.%d status=%d" % (
                    rng.getrandbits(64), rng.randrange(1000), rng.randrange(4), rng.randrange(256), rng.randrange(256),
                    rng.choice([200, 200, 404, 500])),
                json.dumps({"level": sev.lower() or "info", "n": rng.randrange(100), "s": rng.choice(WORDS)}),
                "Unicode: привет мир %d, naïve façade" % rng.randrange(10)])
            r["bytes"] = str(rng.randrange(1 << 20))
            r["duration"] = rng.choice(["%dms" % rng.randrange(900), "%.2fs" % (rng.random() * 9)])
            r["ip"] = "192.168.%d.%d" % (rng.randrange(3), rng.randrange(256))
        elif kind < 0.85:
            r.update({"event.name": "ev-%d.%x" % (rng.randrange(50), rng.getrandbits(40)),
                      "event.reason": rng.choice(["BackOff", "OOMKilling", "Failed", "Killing", "FailedScheduling",
                                                  "SystemOOM", "FailedMount", "Scheduled", "NodeNotReady"]),
                      "event.type": rng.choice(["Normal", "Warning"]),
                      "event.regarding.kind": rng.choice(["ClusterDeployment", "Pod", "Node"]),
                      "event.regarding.name": rng.choice(["aws-ue2-child", "app-1", "node-2"]),
                      "_msg": rng.choice(["Back-off pulling image: ImagePullBackOff", "failed liveness probe",
                                          "0/3 nodes are available", "Created container main"])})
        else:
            t = AUDIT_T0 * 10**9 + int(rng.random() * SPAN * 10**9) if rng.random() < 0.7 else t
            r.update({"log_type": "k8s_audit", "verb": rng.choice(["get", "list", "watch", "update"]),
                      "user.username": "system:serviceaccount:kof:sa-%d" % rng.randrange(9),
                      "objectRef.resource": rng.choice(["pods", "secrets", "nodes"]),
                      "_msg": "audit %d" % rng.randrange(1 << 30)})
            ten = rng.choice(["PLATFORM", "tenant-a", "tenant-b", ""])
            if ten:
                r["tenant"] = ten
        out.append((t, i, r))
    out.sort(key=lambda x: (x[0], x[1]))
    for t, _, r in out:
        r["_time"] = "%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t // 10**9)), t % 10**9)
    return [r for _, _, r in out]


STREAM = "k8s.cluster.name,k8s.namespace.name,k8s.pod.name,k8s.container.name"


def load(servers, data):
    for i in range(0, len(data), 2000):
        body = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in data[i:i + 2000]).encode()
        for s in servers:
            st, out = request(s.base + "/insert/jsonline?_stream_fields=" + STREAM, body,
                              {"Content-Type": "application/stream+json"})
            if st >= 300:
                sys.exit("insert: %d %s" % (st, out[:300]))
    for s in servers:
        request(s.base + "/internal/force_flush", b"")


def norm_rows(body):
    out = []
    for ln in body.decode("utf-8", "replace").split("\n"):
        if ln.strip():
            out.append(json.dumps(json.loads(ln), sort_keys=True, ensure_ascii=False))
    return out


def norm_series(body):
    d = json.loads(body)
    return d.get("status"), sorted(json.dumps(r, sort_keys=True) for r in d.get("data", {}).get("result", []))


def norm_values(body):
    return sorted((v["value"], v["hits"]) for v in json.loads(body)["values"])


def facet_counts(rows):
    d = [json.loads(r) for r in rows]
    return [(r["field_name"], r["hits"]) for r in d]


def ask(server, path, params):
    body = urllib.parse.urlencode(params).encode()
    return request(server.base + path, body, {"Content-Type": "application/x-www-form-urlencoded"})


def compare(path, params, a, b, ordered):
    """None when equal, else what differs."""
    (sa, ba), (sb, bb) = a, b
    if sa != sb:
        return "status %d, peer %d: %s | %s" % (sa, sb, ba[:200], bb[:200])
    if sa != 200:
        return None
    if path.endswith("/query"):
        ra, rb = norm_rows(ba), norm_rows(bb)
        if "| facets" in params["query"]:
            ra, rb = facet_counts(ra), facet_counts(rb)
            both = {f for f, _ in ra} & {f for f, _ in rb}
            ra, rb = [x for x in ra if x[0] in both], [x for x in rb if x[0] in both]
        if not ordered:
            ra.sort(), rb.sort()
    elif "stats_query" in path:
        ra, rb = norm_series(ba), norm_series(bb)
    elif "field_" in path or "stream" in path:
        ra, rb = norm_values(ba), norm_values(bb)
    else:
        ra, rb = json.loads(ba), json.loads(bb)
    if ra == rb:
        return None
    only_a = list((collections.Counter(map(str, ra)) - collections.Counter(map(str, rb))).elements())
    only_b = list((collections.Counter(map(str, rb)) - collections.Counter(map(str, ra))).elements())
    return "%d rows, peer %d; ours alone: %.300s; peer's alone: %.300s" % (len(ra), len(rb), only_a[:2], only_b[:2])


def corpus_cases(path):
    for ln in open(path):
        d = json.loads(ln)
        params = {"query": d.get("expr_sent") or d["expr"], "start": str(T0), "end": str(T0 + SPAN)}
        params.update(d.get("params") or {})
        if d.get("step"):
            params["step"] = d["step"]
        if d.get("field"):
            params["field"] = d["field"]
        yield d["id"], d["api"], params, False


# --- random queries: the parts every release since 1.26 answers alike ---
def rand_filter(rng, depth=0):
    f = rng.random()
    if depth < 3 and f < 0.3:
        op = rng.choice([" ", " and ", " or "])
        return "(%s%s%s)" % (rand_filter(rng, depth + 1), op, rand_filter(rng, depth + 1))
    if depth < 3 and f < 0.38:
        return "!%s" % rand_filter(rng, depth + 1)
    w = rng.choice(WORDS)
    return rng.choice([
        w, '"%s %s"' % (w, rng.choice(WORDS)), "%s*" % w[:3], "i(%s)" % w.upper(), '~"%s.*%d"' % (w[:4], rng.randrange(10)),
        'severity_text:="%s"' % rng.choice(["INFO", "ERROR"]), "severity_text:in(INFO,WARN,x)", 'tenant:""', "tenant:*",
        "bytes:>%d" % rng.randrange(1 << 20), "bytes:range(%d,%d)" % (rng.randrange(1 << 19), 1 << 20),
        "ip:ipv4_range(192.168.1.0/24)", "len_range(10,%d)" % rng.randrange(11, 60), "seq(took,ms)",
        'k8s.pod.name:~"app-[1-%d]-"' % rng.randrange(2, 10), '{k8s.namespace.name="kof"}',
        '{k8s.cluster.name=~"a.*",k8s.namespace.name!="default"}', "duration:<%dms" % rng.randrange(900),
        'event.reason:="BackOff"', "event.type:Warning", 'k8s.node.name:"node-%d"' % rng.randrange(6),
        "string_range(A, Z)", "привет", "user.username:sa-%d" % rng.randrange(9), "_msg:contains_any(error,hit)",
    ]) if f < 0.97 else "*"


def rand_query(rng):
    by = rng.choice(["severity_text", "k8s.namespace.name", "event.reason", "k8s.pod.name", "k8s.cluster.name, event.type"])
    stats = rng.choice(["count() c", "count_uniq(k8s.pod.name) u", "sum(bytes) s", "max(bytes) m", "min(bytes) m",
                        "count() if (error) e, count() c", "uniq_values(event.reason) v", "sum_len(_msg) l", "avg(bytes) a"])
    f = rand_filter(rng)
    pick = rng.randrange(12)
    if pick < 3:
        return "%s | stats by (%s) %s" % (f, by, stats), False
    if pick == 3:
        return "%s | stats by (_time:%s) count() c" % (f, rng.choice(["1m", "5m", "1h"])), False
    if pick == 4:
        return "%s | sort by (_time desc, _msg) | limit %d | fields _time, _msg" % (f, rng.randrange(1, 50)), True
    if pick == 5:
        return "%s | uniq by (%s)" % (f, by), False
    if pick == 6:
        return "%s | count()" % f, False
    if pick == 7:
        return '%s | extract "user=<user> ip=<ip2> status=<st>" | stats by (st) count() c' % f, False
    if pick == 8:
        return "%s | unpack_json fields (level, n) | stats by (level) count() c, sum(n) s" % f, False
    if pick == 9:
        return "%s | math bytes / 1024 as kb, round(bytes) as r | stats max(kb) mk, min(r) mr" % f, False
    if pick == 10:
        return "%s | stats by (bytes:65536) count() c" % f, False
    return "%s | fields _msg, bytes, tenant" % f, False


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--corpus", default="../shared/corpus/kof-logsql.jsonl", help="used where it is")
    ap.add_argument("--random", type=int, default=300)
    ap.add_argument("--rows", type=int, default=20000)
    ap.add_argument("--seed", type=int, default=int(time.time()))
    ap.add_argument("--verbose", action="store_true")
    args = ap.parse_args()
    peer, mine = find_peer(), os.environ.get("KOFSTORE_BIN", "build/release/kofstore")
    if not peer:
        print("skipped: no victoria-logs found (KOFSTORE_VICTORIALOGS, KS_PEERS or PATH)")
        return 0
    rng = random.Random(args.seed)
    print("seed %d" % args.seed)
    with tempfile.TemporaryDirectory() as tmp:
        pa, pb = free_port(), free_port()
        a = Server([mine, "serve", "-storageDataPath=" + tmp + "/a", "-httpListenAddr=127.0.0.1:%d" % pa,
                    "-retentionPeriod=100y", "-logs.retentionPeriod=100y"], pa)
        b = Server([peer, "-storageDataPath=" + tmp + "/b", "-httpListenAddr=127.0.0.1:%d" % pb,
                    "-retentionPeriod=100y"], pb)
        try:
            load([a, b], rows(rng, args.rows))
            time.sleep(1.5)
            cases = list(corpus_cases(args.corpus)) if os.path.exists(args.corpus) else []
            for i in range(args.random):
                q, ordered = rand_query(rng)
                cases.append(("random-%d" % i, "/select/logsql/query", {"query": q}, ordered))
            bad = 0
            for name, path, params, ordered in cases:
                what = compare(path, params, ask(a, path, params), ask(b, path, params), ordered)
                if what:
                    bad += 1
                    print("%s %s\n  %s\n  %s" % (name, path, params, what))
            print("%d passed, %d failed" % (len(cases) - bad, bad))
            return 1 if bad else 0
        finally:
            a.stop(), b.stop()


if __name__ == "__main__":
    sys.exit(main())
