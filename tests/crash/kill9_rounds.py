"""What the kill -9 runs of rows and of spans share: the rounds on one folder, and the folders of a whole run."""
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

from kill9 import Client, Failure, Server

ACKED, UNSURE = 1, 2  # a batch nobody was told of may be there or not


class Writer:
    """Sends batches until the server dies; what it knows of them outlives the rounds."""

    def __init__(self, number, seed):
        self.number, self.rng = number, random.Random(seed)
        self.batches, self.failure = [], None

    def send(self, client):
        """One batch; raises OSError when the server is gone."""
        raise NotImplementedError

    def run_round(self, port):
        client = Client(port)
        try:
            while True:
                self.send(client)
        except OSError:
            pass
        except Failure as e:
            self.failure = e

    @staticmethod
    def refused(status, data):
        """What may be answered instead of an acknowledgement."""
        if status not in (429, 503):
            raise Failure("a write answered %d: %s" % (status, data[:300]))


def housekeeping(port, rng, stop, paths, pause_s):
    """Calls one of the paths now and then, until the server dies."""
    client = Client(port)
    try:
        while not stop.wait(rng.random() * pause_s):
            client.call("GET", rng.choice(paths))
    except OSError:
        pass


def play(folder, log, flags, rounds, rng, seed, writers, check, paths, pause_s):
    """Starts the server, checks, writes for a moment and ends it, again and again; check(port) is called after every start
    and once at the end; meanwhile one of the paths every pause_s seconds at most. Returns what the checks gave and how often each signal ended the server."""
    server = Server(folder, log)
    server.FLAGS = flags
    found, ends = [], {signal.SIGKILL: 0, signal.SIGTERM: 0}
    for number in range(rounds):
        server.spawn()
        if rng.random() < 0.1:  # during recovery
            time.sleep(rng.random() * 0.15)
            server.end(signal.SIGKILL)
            server.spawn()
        server.wait_ready()
        found.append(check(server.port))
        stop = threading.Event()
        threads = [threading.Thread(target=w.run_round, args=(server.port,)) for w in writers]
        threads.append(threading.Thread(target=housekeeping, args=(server.port, random.Random(seed + number), stop, paths, pause_s)))
        for t in threads:
            t.start()
        time.sleep(0.1 + rng.random() * 0.8)
        if server.died():
            raise Failure("the server died by itself")
        how = signal.SIGTERM if rng.random() < 0.15 else signal.SIGKILL
        server.end(how)
        ends[how] += 1
        stop.set()
        for t in threads:
            t.join()
        for w in writers:
            if w.failure:
                raise w.failure
    server.spawn()
    server.wait_ready()
    found.append(check(server.port))
    server.end(signal.SIGTERM)
    return found, ends


def main(name, what, folder_rounds, run):
    """NAME [ROUNDS [SEED]]; run(rounds, seed, folder, log) -> (count of what was compared, ends). Every folder_rounds rounds
    begin in a new folder: an old one costs more to compare than it shows. A failure leaves its folder."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    folder = tempfile.mkdtemp(prefix=f"kofstore-{name}-")
    print(f"{name}: {rounds} rounds, seed {seed}", flush=True)
    with open(folder + ".log", "w") as log:
        try:
            count, ends = 0, {signal.SIGKILL: 0, signal.SIGTERM: 0}
            for first in range(0, rounds, folder_rounds):
                shutil.rmtree(folder, ignore_errors=True)
                more, kinds = run(min(folder_rounds, rounds - first), seed + first, folder, log)
                count += more
                ends = {k: ends[k] + kinds[k] for k in ends}
                print(f"round {min(first + folder_rounds, rounds)}: {count} {what}", flush=True)
        except Failure as e:
            print(f"FAILED (seed {seed}, data in {folder}, log in {folder}.log): {e}")
            return 1
    shutil.rmtree(folder)
    os.unlink(folder + ".log")
    print(f"{name}: {count} {what} over {ends[signal.SIGKILL]} kills and {ends[signal.SIGTERM]} clean stops")
    return 0
