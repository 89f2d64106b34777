#!/usr/bin/env python3
"""kill -9 while logs come in: every acknowledged row is there once, byte for byte, and none is invented.

    kill9_logs.py [ROUNDS] [SEED]    the server is $KOFSTORE_BIN (default build/release/kofstore)

Each round starts the real server on the same folder and lets writer threads send batches (JSON lines, Loki pushes, syslog's own
rows, to two stores), some old, some wide, some of new streams; calls force_flush and force_merge at random, and kills the server
at a random moment: mostly with SIGKILL under load, sometimes during recovery, sometimes with SIGTERM. Then a fresh start must
give exactly the acknowledged rows, plus at most those of batches whose fate nobody was told, these whole or not at all.

The seed fixes values and choices; the moments of the kills are real time.
"""
import json
import os
import random
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kill9_rounds
from kill9 import Client, Failure
from kill9_rounds import ACKED, UNSURE

WRITERS = 4
FOLDER_ROUNDS = 15
STORES = ("logs", "audit")
FLAGS = ["-httpListenAddr=127.0.0.1:0", "-logs.retentionPeriod=30d", "-logs.store=audit:1y", "-wal.segmentBytes=4MiB",
         "-wal.maxReplayBytes=16MiB", "-flushInterval=1s", "-logs.flushInterval=1s", "-storage.minFreeDiskSpaceBytes=1",
         "-loggerLevel=WARN", "-defaultMsgValue="]


def prefix(store):
    return "" if store == "logs" else "/store/" + store


class Writer(kill9_rounds.Writer):
    def __init__(self, number, seed):
        super().__init__(number, seed)
        self.seq = 0  # batches are (store, state, {id: row})

    def text(self):
        rng = self.rng
        pieces = ["GET /api/v1/items/%d" % rng.randrange(10 ** 6), "é€😀", '"quoted" \\ back', "tab\tline\nbreak", "1.50",
                  "%016x" % rng.getrandbits(64), "user=%d took %.3fms" % (rng.randrange(50), rng.random() * 100), "\x01\x7f"]
        return " ".join(rng.choice(pieces) for _ in range(rng.randrange(1, 6)))

    def row(self, now_ns):
        rng = self.rng
        self.seq += 1
        age = rng.randrange(10 ** 9) if rng.random() < 0.9 else rng.randrange(20 * 86400 * 10 ** 9)
        row = {"_time": str(now_ns - age), "_msg": self.text(), "id": "%d-%d" % (self.number, self.seq),
               "app": "app-%d" % rng.randrange(8), "host": "h%d" % rng.randrange(40),
               "level": rng.choice(["info", "warn", "error"]), "code": str(rng.choice([200, 404, "1.50", "01", "-0.3"]))}
        if rng.random() < 0.02:
            row.update({"wide.%d" % i: self.text() for i in range(rng.randrange(50, 300))})
        if rng.random() < 0.01:
            row["blob"] = "x%d" % rng.randrange(10) * rng.randrange(1, 20000)
        return row

    def body(self, rows):
        """(path, headers, body)"""
        if self.rng.random() < 0.7:
            lines = "\n".join(json.dumps(r, ensure_ascii=self.rng.random() < 0.5) for r in rows)
            return "/insert/jsonline?_stream_fields=app,host", {}, lines.encode()
        streams = [{"stream": {"app": r["app"], "host": r["host"]},
                    "values": [[r["_time"], r["_msg"], {k: v for k, v in r.items() if k not in ("_time", "_msg", "app", "host")}]]}
                   for r in rows]
        return ("/insert/loki/api/v1/push?disable_message_parsing=1", {"Content-Type": "application/json"},
                json.dumps({"streams": streams}).encode())

    def send(self, client):
        rows = [self.row(time.time_ns()) for _ in range(self.rng.choice([1, 1, 5, 20, 200]))]
        store = self.rng.choice(STORES)
        path, headers, body = self.body(rows)
        batch = [store, UNSURE, {r["id"]: r for r in rows}]
        self.batches.append(batch)
        status, data = client.call("POST", prefix(store) + path, body, headers)
        if status not in (200, 204):
            return self.refused(status, data)
        if data:
            raise Failure("a batch was taken in part: %s" % data[:300])
        batch[1] = ACKED


def read_rows(port, store):
    """{id: row}; the first read of a server that answers with an error is a failure."""
    query = urllib.parse.urlencode({"query": "*"})
    status, data = Client(port).call("GET", prefix(store) + "/select/logsql/query?" + query)
    if status != 200:
        raise Failure("the query answered %d: %s" % (status, data[:300]))
    found = {}
    for line in data.split(b"\n"):
        if not line:
            continue
        row = json.loads(line)
        if row.get("id") in found:
            raise Failure("row %s of store %s is there twice" % (row["id"], store))
        found[row.get("id")] = row
    return found


def to_ns(text):
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone
    return int(seconds) * 10 ** 9 + int((fraction + "0" * 9)[:9])


def same(sent, got):
    got = {k: v for k, v in got.items() if k not in ("_stream", "_stream_id")}
    got["_time"] = str(to_ns(got.get("_time", "1970-01-01T00:00:00Z")))
    return got == sent


def check(port, writers):
    """Compares, and settles what was unsure: it is known from now on."""
    count = 0
    for store in STORES:
        found = read_rows(port, store)
        for w in writers:
            for batch in w.batches:
                if batch[0] != store:
                    continue
                there = [i for i in batch[2] if i in found]
                if len(there) < len(batch[2]) and (batch[1] == ACKED or there):
                    raise Failure("%s batch of %d rows to %s: %d are there; missing %s" %
                                  ("acknowledged" if batch[1] == ACKED else "unsure", len(batch[2]), store, len(there),
                                   [i for i in batch[2] if i not in found][:5]))
                for i in there:
                    got = found.pop(i)
                    if not same(batch[2][i], got):
                        raise Failure("row %s of %s came back different:\n sent %r\n got  %r" % (i, store, batch[2][i], got))
                    count += 1
                batch[1] = ACKED if there else None
        if found:
            raise Failure("%d rows of %s that nobody sent, such as %r" % (len(found), store, next(iter(found.values()))))
    for w in writers:
        w.batches = [b for b in w.batches if b[1] == ACKED]
    return count


def run(rounds, seed, folder, log):
    writers = [Writer(i, seed * 1000 + i) for i in range(WRITERS)]
    found, ends = kill9_rounds.play(folder, log, FLAGS, rounds, random.Random(seed), seed, writers,
                                    lambda port: check(port, writers), ["/internal/force_flush", "/internal/force_merge"], 0.6)
    return found[-1], ends


if __name__ == "__main__":
    sys.exit(kill9_rounds.main("kill9_logs", "rows kept", FOLDER_ROUNDS, run))
