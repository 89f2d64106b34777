"""OTLP spans as protobuf, and a kofstore with all trace listeners: for tests of traces."""
import json
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from ingest_lib import BIN, pb_bytes as field, varint  # noqa: F401


def text(number, s):
    return field(number, s.encode())


def any_value(v):
    if isinstance(v, bool):
        return varint(2 << 3) + varint(int(v))
    if isinstance(v, int):
        return varint(3 << 3) + varint(v & (2 ** 64 - 1))
    if isinstance(v, float):
        return varint(4 << 3 | 1) + struct.pack("<d", v)
    if isinstance(v, list):
        return field(5, b"".join(field(1, any_value(x)) for x in v))
    if isinstance(v, dict):
        return field(6, b"".join(field(1, text(1, k) + field(2, any_value(x))) for k, x in v.items()))
    if isinstance(v, bytes):
        return field(7, v)
    return text(1, v)


def pair(k, v):
    return text(1, k) + field(2, any_value(v))


def span(trace_id, span_id, name, start, end, parent=b"", attrs=None, kind=2, status=0, message="", events=(), links=(), flags=0):
    b = field(1, trace_id) + field(2, span_id)
    if parent:
        b += field(4, parent)
    b += text(5, name) + varint(6 << 3) + varint(kind)
    b += varint(7 << 3 | 1) + struct.pack("<Q", start) + varint(8 << 3 | 1) + struct.pack("<Q", end)
    for k, v in (attrs or {}).items():
        b += field(9, pair(k, v))
    for at, what, more in events:
        b += field(11, varint(1 << 3 | 1) + struct.pack("<Q", at) + text(2, what) + b"".join(field(3, pair(k, v)) for k, v in more.items()))
    for tid, sid, more in links:
        b += field(13, field(1, tid) + field(2, sid) + b"".join(field(4, pair(k, v)) for k, v in more.items()))
    if status or message:
        b += field(15, (text(2, message) if message else b"") + varint(3 << 3) + varint(status))
    if flags:
        b += varint(16 << 3 | 5) + struct.pack("<I", flags)
    return b


def request(resource, spans, scope=("lib", "1.0")):
    res = b"".join(field(1, pair(k, v)) for k, v in resource.items())
    return field(1, field(1, res) + field(2, field(1, text(1, scope[0]) + text(2, scope[1])) + b"".join(field(2, s) for s in spans)))


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


class Server:
    """All listeners on ports of their own; restart() kills -9 and starts again on the same data."""

    def __init__(self, *flags):
        self.dir = tempfile.TemporaryDirectory()
        names = ["main", "otlp", "grpc", "jaeger", "jaeger_grpc", "zipkin", "thrift"]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.flags = flags
        self.start()

    def start(self):
        p = {k: f"127.0.0.1:{v}" for k, v in self.ports.items()}
        self.proc = subprocess.Popen(
            [BIN, "serve", f"-storageDataPath={self.dir.name}", f"-httpListenAddr={p['main']}", f"-otlp.httpListenAddr={p['otlp']}",
             f"-otlp.grpcListenAddr={p['grpc']}", f"-jaeger.httpListenAddr={p['jaeger']}", f"-jaeger.grpcListenAddr={p['jaeger_grpc']}", f"-zipkin.httpListenAddr={p['zipkin']}",
             f"-jaegerThrift.httpListenAddr={p['thrift']}", "-loggerLevel=ERROR", *self.flags], stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                if self.get("main", "/health")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server did not start")

    def kill(self, sig=signal.SIGKILL):
        self.proc.send_signal(sig)
        self.proc.wait()

    def restart(self, sig=signal.SIGKILL):
        self.kill(sig)
        self.start()

    def call(self, port, path, body=None, headers=None, method=None):
        r = urllib.request.Request(f"http://127.0.0.1:{self.ports[port]}{path}", data=body, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(r, timeout=30) as a:
                return a.status, a.read(), dict(a.headers)
        except urllib.error.HTTPError as e:
            return e.code, e.read(), dict(e.headers)

    def get(self, port, path):
        return self.call(port, path)

    def json(self, port, path, **args):
        q = "?" + urllib.parse.urlencode(args, doseq=True) if args else ""
        code, body, _ = self.call(port, path + q)
        assert code == 200, (path, args, code, body)
        return json.loads(body)

    def post(self, body, port="otlp", path="/v1/traces", **headers):
        return self.call(port, path, body, {"Content-Type": "application/x-protobuf", **{k.replace("_", "-"): v for k, v in headers.items()}})

    def metric(self, name):
        for line in self.get("main", "/metrics")[1].decode().splitlines():
            if line.split(" ")[0] == name:
                return float(line.split(" ")[1])
        raise KeyError(name)

    def close(self):
        self.kill(signal.SIGTERM)
        self.dir.cleanup()
