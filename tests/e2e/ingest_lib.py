"""Shared by the tests of the ingestion protocols: servers on free ports, HTTP, encoders, checks. Standard library only.

kofstore is $KOFSTORE_BIN (default build/release/kofstore). Peers are found in $KS_PEERS (a folder) or $PATH; without one the checks
against it are skipped with a message."""
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

BIN = os.environ.get("KOFSTORE_BIN") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build/release/kofstore")
passed = failed = skipped = 0


def check(what, got, want):
    global passed, failed
    if got == want:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}\n  got  {got!r}\n  want {want!r}")


def check_true(what, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what} {detail}")


def finish():
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)


def peer(name):
    """Path of a peer's program, or None with a message."""
    global skipped
    folder = os.environ.get("KS_PEERS")
    path = shutil.which(name, path=folder) if folder else shutil.which(name)
    if not path:
        skipped += 1
        print(f"skipped: no {name} in " + ("$KS_PEERS" if folder else "$PATH; set KS_PEERS to the folder that has it"))
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"

    def http(self, path, body=None, headers=None, args=None, method=None):
        """(status, headers, body); errors too."""
        url = self.base + path
        if args:
            url += "?" + urllib.parse.urlencode(args, doseq=True)
        req = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(req, timeout=60) as r:
                return r.status, r.headers, r.read()
        except urllib.error.HTTPError as e:
            return e.code, e.headers, e.read()

    def export(self, match, prefix="", start="0", end=None, **more):
        """{label text: [(ms, value), …]} of all samples that match."""
        args = {"match[]": match, "start": start, "end": end or str(int(time.time()) + 86400), **more}
        status, _, body = self.http(prefix + "/api/v1/export", args=args)
        assert status == 200, (status, body)
        out = {}
        for line in body.decode().splitlines():
            row = json.loads(line)
            key = ",".join(f"{k}={v}" for k, v in sorted(row["metric"].items()))
            out.setdefault(key, []).extend(zip(row["timestamps"], row["values"]))
        return {k: sorted(v, key=lambda x: x[0]) for k, v in out.items()}


@contextlib.contextmanager
def started(argv, port, ready="/health", what="server"):
    log = tempfile.TemporaryFile()
    proc = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    server = Server(port)
    try:
        for _ in range(600):
            if proc.poll() is not None:
                break
            try:
                if server.http(ready)[0] < 500:
                    break
            except OSError:
                time.sleep(0.05)
        if proc.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"{what} did not start: {log.read().decode()[-2000:]}")
        server.proc = proc
        yield server
    finally:
        proc.terminate()
        try:
            proc.wait(20)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()
        log.close()


@contextlib.contextmanager
def kofstore(*flags):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        argv = [BIN, "serve", f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y", *flags]
        with started(argv, port, what="kofstore") as s:
            yield s


@contextlib.contextmanager
def victoria_metrics(path, *flags):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        argv = [path, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y",
                "-search.latencyOffset=0s", *flags]
        with started(argv, port, what="victoria-metrics") as s:
            s.flush = lambda: s.http("/internal/force_flush")
            yield s


# --- encoders --------------------------------------------------------------------------------------------------------------


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def zigzag(n):
    return varint((n << 1) ^ (n >> 63))


def pb_bytes(number, data):
    if isinstance(data, str):
        data = data.encode()
    return varint(number << 3 | 2) + varint(len(data)) + data


def pb_varint(number, n):
    return varint(number << 3) + varint(n)


def pb_double(number, v):
    return varint(number << 3 | 1) + struct.pack("<d", v)


def pb_fixed64(number, n):
    return varint(number << 3 | 1) + struct.pack("<Q", n & (1 << 64) - 1)


def pb_walk(data):
    """[(field number, wire type, value)] of a message."""
    out, i = [], 0

    def number():
        nonlocal i
        n = shift = 0
        while True:
            c = data[i]
            i += 1
            n |= (c & 127) << shift
            shift += 7
            if c < 128:
                return n

    while i < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        elif key & 7 == 1:
            value, i = data[i : i + 8], i + 8
        elif key & 7 == 2:
            n = number()
            value, i = data[i : i + n], i + n
        else:
            value, i = data[i : i + 4], i + 4
        out.append((key >> 3, key & 7, value))
    return out


def snappy(data):
    """Literals only."""
    out = varint(len(data))
    for i in range(0, len(data), 60000):
        piece = data[i : i + 60000]
        n = len(piece) - 1
        out += (bytes([n << 2]) if n < 60 else bytes([61 << 2]) + struct.pack("<H", n)) + piece
    return out


def unsnappy(data):
    i = size = shift = 0
    while True:
        c = data[i]
        i += 1
        size |= (c & 127) << shift
        shift += 7
        if c < 128:
            break
    out = bytearray()
    while i < len(data):
        tag = data[i]
        i += 1
        if tag & 3 == 0:
            n = tag >> 2
            if n >= 60:
                extra = n - 59
                n = int.from_bytes(data[i : i + extra], "little")
                i += extra
            out += data[i : i + n + 1]
            i += n + 1
            continue
        if tag & 3 == 1:
            n, off = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[i]
            i += 1
        else:
            width = 2 if tag & 3 == 2 else 4
            n, off = (tag >> 2) + 1, int.from_bytes(data[i : i + width], "little")
            i += width
        for _ in range(n):
            out.append(out[-off])
    assert len(out) == size
    return bytes(out)
