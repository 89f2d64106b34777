#!/usr/bin/env python3
"""kill -9 while spans come in: every acknowledged span of a trace still within the ring is there, and the answer keeps its bytes.

    kill9_traces.py [ROUNDS] [SEED]    the server is $KOFSTORE_BIN (default build/release/kofstore)

Each round starts the real server on the same folder and lets writer threads send batches of spans (OTLP as JSON): new traces, more
spans of traces sent before; a thread calls force_flush at random, so that snapshots are made under load, and the server is killed
at a random moment: mostly with SIGKILL, sometimes during recovery, sometimes with SIGTERM. After a fresh start the newest traces
(as many as the ring surely holds) must have exactly the spans that were acknowledged, attribute by attribute; a batch whose fate
nobody was told must be there whole or not at all. Traces that nobody wrote to since the last look must answer with the same bytes.

The seed fixes values and choices; the moments of the kills are real time.
"""
import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kill9_rounds
from kill9 import Client, Failure
from kill9_rounds import ACKED, UNSURE

WRITERS = 4
FOLDER_ROUNDS = 12
MAX_TRACES = 800
RECENT = 100  # more spans come to so young traces only: they are within the ring for certain
LOOKS = 500   # traces compared after each start
BATCH_MAX = 20
FLAGS = ["-httpListenAddr=127.0.0.1:0", "-traces.maxTraces=%d" % MAX_TRACES, "-wal.segmentBytes=4MiB", "-wal.maxReplayBytes=16MiB",
         "-storage.minFreeDiskSpaceBytes=1", "-loggerLevel=WARN"]


class Traces:
    """What was sent, over all writers and rounds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.began = 0   # traces begun so far: each may have pushed an older one out
        self.by_id = {}  # id: trace

    def begin(self, trace_id):
        with self.lock:
            trace = {"id": trace_id, "at": self.began, "spans": {}, "bytes": None}
            self.began += 1
            self.by_id[trace_id] = trace
            return trace

    def within(self, trace):
        """For certain: what others had begun before it may have come to the server after it."""
        return self.began - trace["at"] < MAX_TRACES - WRITERS * BATCH_MAX


class Writer(kill9_rounds.Writer):
    def __init__(self, number, seed, traces):
        super().__init__(number, seed)
        self.traces, self.mine = traces, []  # batches are (state, [(trace, span)])

    def value(self):
        rng = self.rng
        return rng.choice([
            {"stringValue": "/api/v1/items/%d" % rng.randrange(10 ** 9)},
            {"stringValue": "%016x" % rng.getrandbits(64)},
            {"stringValue": "%08x-%04x-%04x-%04x-%012x" % tuple(rng.getrandbits(n) for n in (32, 16, 16, 16, 48))},
            {"stringValue": rng.choice(["GET", "POST", "é€😀", "tab\tline\nbreak", 'quoted "\\', "\u0001\u0003", "007", "1.50"])},
            {"intValue": str(rng.randrange(-2 ** 62, 2 ** 62))},
            {"boolValue": rng.random() < 0.5},
            {"stringValue": "x%d" % rng.randrange(10) * rng.randrange(1, 3000)},
        ])

    def span(self, trace):
        rng = self.rng
        start = time.time_ns() // 1000 * 1000
        return {"traceId": trace["id"], "spanId": "%016x" % (rng.getrandbits(64) | 1), "name": "op-%d" % rng.randrange(40),
                "kind": rng.randrange(1, 6), "startTimeUnixNano": str(start),
                "endTimeUnixNano": str(start + rng.randrange(10 ** 9) // 1000 * 1000),
                "attributes": [{"key": "key-%d" % i, "value": self.value()} for i in range(rng.randrange(8))]}

    def batch(self):
        spans = []
        for _ in range(self.rng.choice([1, 3, BATCH_MAX])):
            young = self.mine[-RECENT:]
            if young and self.rng.random() < 0.3:
                trace = self.rng.choice(young)
                if self.traces.began - trace["at"] > MAX_TRACES // 2:
                    continue
            else:
                trace = self.traces.begin("%032x" % (self.rng.getrandbits(128) | 1))
                self.mine.append(trace)
            spans += [(trace, self.span(trace)) for _ in range(self.rng.randrange(1, 6))]
        return spans

    def send(self, client):
        spans = self.batch()
        if not spans:
            return
        body = {"resourceSpans": [{"resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "service-%d" % self.number}}]},
            "scopeSpans": [{"scope": {"name": "kill9"}, "spans": [s for _, s in spans]}]}]}
        batch = [UNSURE, spans]
        self.batches.append(batch)
        status, data = client.call("POST", "/v1/traces", json.dumps(body), {"Content-Type": "application/json"})
        if status != 200:
            return self.refused(status, data)
        if b"rejected" in data:
            raise Failure("spans were refused: %s" % data[:300])
        batch[0] = ACKED


def tag(attribute):
    (kind, value), = attribute["value"].items()
    return attribute["key"], value if kind == "stringValue" else int(value) if kind == "intValue" else value


def same(sent, got):
    tags = [(t["key"], t["value"]) for t in got["tags"] if t["key"].startswith("key-")]
    # Integers beyond 2^53 come as text from servers that know JavaScript.
    want = [tag(a) for a in sent["attributes"]]
    start = int(sent["startTimeUnixNano"])
    return (got["operationName"] == sent["name"] and got["startTime"] == start // 1000 and
            got["duration"] == (int(sent["endTimeUnixNano"]) - start) // 1000 and len(tags) == len(want) and
            all(k == w and (v == x or str(v) == str(x) or str(v).lower() == str(x).lower()) for (k, v), (w, x) in zip(tags, want)))


def read_trace(client, trace):
    """{span id: span} and the answer's bytes."""
    status, data = client.call("GET", "/select/jaeger/api/traces/" + trace["id"])
    if status == 404:
        return {}, b""
    if status != 200:
        raise Failure("trace %s answered %d: %s" % (trace["id"], status, data[:300]))
    spans = json.loads(data)["data"][0]["spans"]
    found = {s["spanID"]: s for s in spans}
    if len(found) != len(spans):
        raise Failure("trace %s has a span twice" % trace["id"])
    return found, data


def settle(client, writers, traces):
    """Batches that nobody was told of are there whole or not at all; what is known goes to the traces."""
    for w in writers:
        for state, spans in w.batches:
            if state == UNSURE:
                there = [s["spanId"] in read_trace(client, t)[0] for t, s in spans if traces.within(t)]
                if any(there) and not all(there):
                    raise Failure("a batch of %d spans is there in part" % len(spans))
                if not any(there):
                    continue
            for trace, span in spans:
                trace["spans"][span["spanId"]] = span
                trace["bytes"] = None
        w.batches = []


def check(port, writers, traces, rng):
    client = Client(port)
    settle(client, writers, traces)
    live = [t for t in traces.by_id.values() if traces.within(t)]
    traces.by_id = {t["id"]: t for t in live}
    count = 0
    for trace in rng.sample(live, min(LOOKS, len(live))):
        found, data = read_trace(client, trace)
        if set(found) != set(trace["spans"]):
            raise Failure("trace %s, begun %d traces ago: %d spans acknowledged, %d there; missing %s, invented %s" % (
                trace["id"], traces.began - trace["at"], len(trace["spans"]), len(found), sorted(set(trace["spans"]) - set(found))[:3],
                sorted(set(found) - set(trace["spans"]))[:3]))
        for span_id, sent in trace["spans"].items():
            if not same(sent, found[span_id]):
                raise Failure("span %s came back different:\n sent %r\n got  %r" % (span_id, sent, found[span_id]))
        if trace["bytes"] is not None and trace["bytes"] != data:
            raise Failure("trace %s answers with other bytes than before" % trace["id"])
        trace["bytes"] = data
        count += len(found)
    return count


def run(rounds, seed, folder, log):
    rng = random.Random(seed)
    traces = Traces()
    writers = [Writer(i, seed * 1000 + i, traces) for i in range(WRITERS)]
    found, ends = kill9_rounds.play(folder, log, FLAGS, rounds, rng, seed, writers,
                                    lambda port: check(port, writers, traces, rng), ["/internal/force_flush"], 0.5)
    return sum(found), ends


if __name__ == "__main__":
    sys.exit(kill9_rounds.main("kill9_traces", "spans compared", FOLDER_ROUNDS, run))
