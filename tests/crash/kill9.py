#!/usr/bin/env python3
"""kill -9 under load: nothing acknowledged is lost, nothing is invented, every value keeps its bits.

    kill9.py [ROUNDS] [SEED]         the server is $KOFSTORE_BIN (default build/release/kofstore)

Each round starts the real server on the same folder, lets writer threads send remote write requests (new samples, late ones,
new series, deletes, reads of what they wrote), calls force_flush and force_merge at random, and kills the server at a random
moment: mostly with SIGKILL under load, sometimes during recovery, sometimes with SIGTERM. Then a fresh start must export exactly
what was acknowledged, plus at most what was attempted and whose fate nobody was told. WAL segments are small and flushes
frequent, so that recycling, checkpoints, merges and the dropping of idle series happen in every round.

The seed fixes values and choices; the moments of the kills are real time.
"""
import http.client
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

WRITERS = 4
SERIES_PER_WRITER = 12  # at first
SERIES_MAX = 300
STEP_MS = 1000


# --- remote write: protobuf in one snappy literal after the other ---------------------------------------------------------

def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series):
    """series: list of (labels dict, [(ms, float)])."""
    body = bytearray()
    for labels, samples in series:
        one = bytearray()
        for name, value in sorted(labels.items()):
            one += field(1, field(1, name.encode()) + field(2, value.encode()))
        for ms, value in samples:
            one += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(ms))
        body += field(1, bytes(one))
    return snappy_literals(bytes(body))


def snappy_literals(data):
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 65536):
        piece = data[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece
    return bytes(out)


# --- the server -----------------------------------------------------------------------------------------------------------

class Server:
    FLAGS = ["-httpListenAddr=127.0.0.1:0", "-retentionPeriod=30d", "-wal.segmentBytes=256KiB", "-wal.maxReplayBytes=1MiB",
             "-flushInterval=1s", "-storage.seriesIdleTimeout=2s", "-storage.minFreeDiskSpaceBytes=1", "-loggerLevel=WARN",
             "-storage.shards=4", "-search.disableCache=true"]

    def __init__(self, folder, log):
        self.folder, self.log = folder, log
        self.process, self.port = None, 0

    def spawn(self):
        binary = os.environ.get("KOFSTORE_BIN", "build/release/kofstore")
        self.process = subprocess.Popen([binary, "serve", "-storageDataPath=" + self.folder] + self.FLAGS,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)

    def wait_ready(self):
        """Returns seconds until it listened."""
        start = time.monotonic()
        line = self.process.stdout.readline()
        if "listening on http://" not in line:
            raise Failure("the server did not start (exit %s)" % self.process.wait())
        self.port = int(line.strip().rstrip("/").rsplit(":", 1)[1])
        return time.monotonic() - start

    def end(self, sig):
        self.process.send_signal(sig)
        code = self.process.wait()
        self.process.stdout.close()
        if sig == signal.SIGTERM and code != 0:
            raise Failure("a clean stop ended with %d" % code)

    def died(self):
        return self.process.poll() is not None


class Failure(Exception):
    pass


class Client:
    """One keep-alive connection; any failure is an OSError and means: nobody knows."""

    def __init__(self, port):
        self.conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def call(self, method, path, body=None, headers=None):
        try:
            self.conn.request(method, path, body, headers or {})
            answer = self.conn.getresponse()
            data = answer.read()
            return answer.status, data
        except (http.client.HTTPException, OSError) as e:
            self.conn.close()
            raise OSError(str(e)) from e

    def export(self, selector, start_ms, end_ms):
        """{(name, series label): [(ms, value)]}"""
        query = urllib.parse.urlencode({"match[]": selector, "start": start_ms / 1000, "end": end_ms / 1000})
        status, data = self.call("GET", "/api/v1/export?" + query)
        if status != 200:
            raise Failure("export answered %d: %s" % (status, data[:300]))
        found = {}
        for line in data.splitlines():
            one = json.loads(line, parse_int=float)
            values = [float(v.replace("Infinity", "inf")) if isinstance(v, str) else v for v in one["values"]]
            key = one["metric"]["__name__"], one["metric"]["series"]
            found.setdefault(key, []).extend(zip((int(t) for t in one["timestamps"]), values))
        return found


# --- what may and must be there ---------------------------------------------------------------------------------------------

ACKED, UNSURE = 1, 2


class Series:
    def __init__(self, labels):
        self.labels = labels
        self.cells = {}   # ms → [value, ACKED | UNSURE]
        self.holes = []   # times left out so far, for late samples
        self.next_ms = None

    def key(self):
        return self.labels["__name__"], self.labels["series"]

    def selector(self):
        return '%s{series="%s"}' % self.key()


def bits(value):
    return struct.pack("<d", value)


def check_series(series, found):
    """found: [(ms, value)] of one series; raises Failure."""
    seen = set()
    for ms, value in found:
        cell = series.cells.get(ms)
        if cell is None:
            raise Failure("%s: invented a sample at %d = %r" % (series.selector(), ms, value))
        if bits(cell[0]) != bits(value):
            raise Failure("%s at %d: wrote %r, read %r" % (series.selector(), ms, cell[0], value))
        if ms in seen:
            raise Failure("%s at %d: there twice" % (series.selector(), ms))
        seen.add(ms)
    lost = [ms for ms, cell in series.cells.items() if cell[1] == ACKED and ms not in seen]
    if lost:
        raise Failure("%s: lost %d acknowledged samples, the first at %d" % (series.selector(), len(lost), min(lost)))
    # What was seen is known now: it must stay. What was not seen must never appear.
    for ms in list(series.cells):
        if ms in seen:
            series.cells[ms][1] = ACKED
        else:
            del series.cells[ms]


class Writer(threading.Thread):
    """Owns its series; one request at a time, so that what it knows is exact."""

    def __init__(self, number, seed, base_ms):
        self.number, self.base_ms = number, base_ms
        self.rng = random.Random("%s/%d" % (seed, number))
        self.series = [self.new_series() for _ in range(SERIES_PER_WRITER)]
        self.sent = self.acked = self.deletes = self.reads = self.refused = 0
        self.failure = None

    def new_series(self):
        n = self.rng.getrandbits(48)
        return Series({"__name__": "k9_%d" % (n % 3), "series": "w%d-%012x" % (self.number, n), "job": "kill9",
                       "instance": "host-%d" % (n % 5)})

    def start_round(self, port):
        self.port, self.stop = port, False
        super().__init__(daemon=True)
        self.start()

    def run(self):
        client = Client(self.port)
        try:
            while not self.stop:
                self.one_request(client)
        except OSError:
            pass
        except Failure as e:
            self.failure = e

    def one_request(self, client):
        dice = self.rng.random()
        if dice < 0.01:
            self.delete(client)
        elif dice < 0.03:
            self.read_back(client)
        elif dice < 0.05:
            if len(self.series) < SERIES_MAX:
                self.series.append(self.new_series())
        else:
            self.write(client)
        time.sleep(self.rng.random() * 0.02)

    def value(self):
        kind = self.rng.randrange(6)
        if kind == 0:
            return float(self.rng.randrange(1000))
        if kind == 1:
            return round(self.rng.uniform(-1e6, 1e6), 2)
        if kind == 2:
            while True:
                v = struct.unpack("<d", self.rng.randbytes(8))[0]
                if v == v:
                    return v
        if kind == 3:
            return self.rng.choice([0.0, -0.0, float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
        return self.rng.gauss(0, 1)

    def pick(self, s):
        if s.next_ms is None:
            s.next_ms = self.base_ms
        samples = []
        for _ in range(self.rng.randrange(1, 8)):
            if s.holes and self.rng.random() < 0.1:
                ms = s.holes.pop(self.rng.randrange(len(s.holes)))
            else:
                ms, s.next_ms = s.next_ms, s.next_ms + STEP_MS
                if self.rng.random() < 0.1:
                    s.holes.append(ms)
                    continue
            samples.append((ms, self.value()))
        return samples

    def write(self, client):
        batch = []
        for s in self.rng.sample(self.series, min(len(self.series), self.rng.randrange(1, 10))):
            samples = self.pick(s)
            if samples:
                batch.append((s, samples))
        for s, samples in batch:
            for ms, value in samples:
                s.cells[ms] = [value, UNSURE]
                self.sent += 1
        body = write_request([(s.labels, samples) for s, samples in batch])
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        status, data = client.call("POST", "/api/v1/write", body, headers)
        if status not in (200, 204):
            if status not in (429, 503):
                raise Failure("a write was answered with %d: %s" % (status, data[:300]))
            self.refused += 1
            return
        for s, samples in batch:
            for ms, value in samples:
                s.cells[ms][1] = ACKED
                self.acked += 1

    def delete(self, client):
        s = self.rng.choice(self.series)
        for cell in s.cells.values():
            cell[1] = UNSURE
        query = urllib.parse.urlencode({"match[]": s.selector()})
        status, data = client.call("POST", "/api/v1/admin/tsdb/delete_series?" + query)
        if status not in (200, 204):
            raise Failure("a delete was answered with %d: %s" % (status, data[:300]))
        s.cells.clear()
        self.deletes += 1

    def read_back(self, client):
        s = self.rng.choice(self.series)
        found = client.export(s.selector(), self.base_ms - STEP_MS, self.base_ms + 10**9)
        check_series(s, found.get(s.key(), []))
        self.reads += 1


# --- rounds -----------------------------------------------------------------------------------------------------------------

class Test:
    def __init__(self, folder, seed, log):
        self.rng = random.Random(seed)
        self.base_ms = (int(time.time()) - 3 * 86400) * 1000
        self.writers = [Writer(i, seed, self.base_ms) for i in range(WRITERS)]
        self.server = Server(folder, log)
        self.slowest_start = 0.0
        self.flushes = self.merges = self.recovery_kills = self.clean_stops = self.samples_checked = 0

    def check_all(self):
        found = Client(self.server.port).export('{__name__=~"k9_.*"}', self.base_ms - STEP_MS, self.base_ms + 10**9)
        for w in self.writers:
            for s in w.series:
                samples = found.pop(s.key(), [])
                self.samples_checked += len(samples)
                check_series(s, samples)
        if found:
            raise Failure("invented series: %s" % list(found)[:3])

    def start(self):
        """Starts the server, at times killing it while it recovers."""
        while True:
            self.server.spawn()
            if self.rng.random() < 0.15:
                time.sleep(self.rng.random() * 0.05)
                self.server.end(signal.SIGKILL)
                self.recovery_kills += 1
                continue
            self.slowest_start = max(self.slowest_start, self.server.wait_ready())
            return

    def trouble(self, seconds):
        """Flushes and merges at random until the time is over."""
        client, until = Client(self.server.port), time.monotonic() + seconds
        while time.monotonic() < until:
            dice = self.rng.random()
            if dice < 0.5:
                time.sleep(min(0.2, max(0.0, until - time.monotonic())) * self.rng.random())
                continue
            path = "/internal/force_flush" if dice < 0.85 else "/internal/force_merge"
            status, data = client.call("GET", path)
            if status not in (200, 204):
                raise Failure("%s answered %d: %s" % (path, status, data[:300]))
            self.flushes += dice < 0.85
            self.merges += dice >= 0.85

    def round(self):
        self.start()
        self.check_all()
        for w in self.writers:
            w.start_round(self.server.port)
        if self.rng.random() < 0.5:
            self.trouble(self.rng.random() * 1.2)
        else:
            time.sleep(self.rng.random() * 1.2)
        if self.server.died():
            raise Failure("the server died by itself with %s" % self.server.process.returncode)
        clean = self.rng.random() < 0.1
        if clean:
            for w in self.writers:
                w.stop = True
            self.clean_stops += 1
        self.server.end(signal.SIGTERM if clean else signal.SIGKILL)
        for w in self.writers:
            w.stop = True
            w.join()
            if w.failure:
                raise w.failure

    def finish(self):
        self.server.spawn()
        self.server.wait_ready()
        self.check_all()
        self.server.end(signal.SIGTERM)

    def summary(self):
        total = lambda name: sum(getattr(w, name) for w in self.writers)
        return ("samples sent=%d acked=%d checked=%d, series=%d, deletes=%d, reads=%d, refused=%d, flushes=%d, merges=%d, "
                "kills in recovery=%d, clean stops=%d, slowest start=%.2fs") % (
            total("sent"), total("acked"), self.samples_checked, sum(len(w.series) for w in self.writers), total("deletes"),
            total("reads"), total("refused"), self.flushes, self.merges, self.recovery_kills, self.clean_stops,
            self.slowest_start)


def main(rounds, seed):
    folder = tempfile.mkdtemp(prefix="kill9-")
    log_path = os.path.join(folder, "server.log")
    print("kill9 rounds=%d seed=%d" % (rounds, seed), flush=True)
    with open(log_path, "w") as log:
        test = Test(os.path.join(folder, "data"), seed, log)
        n = 0
        try:
            for n in range(1, rounds + 1):
                test.round()
                if n % 20 == 0:
                    print("round %d: %s" % (n, test.summary()), flush=True)
            test.finish()
        except (Failure, OSError) as e:
            if test.server.process and not test.server.died():
                test.server.end(signal.SIGKILL)
            print("FAILED in round %d of seed %d: %s; data and log kept in %s" % (n, seed, e, folder))
            return 1
    print("kill9 passed: %s" % test.summary())
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200,
                  int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**9))
