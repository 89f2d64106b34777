"""The servers of the metrics benchmark: how each is started, stopped, flushed and weighed. Default flags everywhere: only
the data folder, the listen address and what the job cannot do without (Prometheus refuses remote write unless told)."""
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def folder_bytes(path):
    total = 0
    for root, _, files in os.walk(path):
        for f in files:
            try:
                total += os.stat(os.path.join(root, f)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def files_under(path):
    return [os.path.join(root, f) for root, _, files in os.walk(path) for f in files]


class Server:
    """A running process on its own folder and port."""

    label = ""
    ready_path = "/health"
    exports = True

    def __init__(self, binary, folder, load):
        self.binary, self.folder, self.load = binary, folder, load
        self.port, self.process = 0, None

    def command(self):
        raise NotImplementedError

    @property
    def addr(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def wipe(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)

    def start(self, timeout=180):
        """Returns the seconds until the server says it is ready."""
        self.port = free_port()
        with open(self.folder + ".log", "ab") as log:
            begin = time.monotonic()
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        while time.monotonic() - begin < timeout:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.label} ended with {self.process.returncode}; see {self.folder}.log")
            try:
                with urllib.request.urlopen(f"http://{self.addr}{self.ready_path}", timeout=5) as r:
                    if r.status == 200:
                        return time.monotonic() - begin
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError(f"{self.label} did not get ready")

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=300)

    def get(self, path, timeout=300, **args):
        url = f"http://{self.addr}{path}" + ("?" + urllib.parse.urlencode(args, doseq=True) if args else "")
        with urllib.request.urlopen(url, timeout=timeout) as r:
            return r.read()

    def status(self, field):
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
        return 0

    def rss(self):
        """Resident memory without mapped files: page cache of data files is nobody's fault."""
        return self.status("RssAnon:")

    def rss_all(self):
        return self.status("VmRSS:")

    def drop_file_cache(self):
        """Makes the kernel forget this server's files; the machine's other caches stay."""
        for path in files_under(self.folder):
            try:
                fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def settle(self):
        """Everything on disk and merged."""

    def disk(self):
        """Bytes of data, index and log."""
        raise NotImplementedError


class Kofstore(Server):
    label = "kofstore"

    def command(self):
        return [self.binary, "serve", f"-storageDataPath={self.folder}", f"-httpListenAddr={self.addr}"]

    def settle(self):
        self.get("/internal/force_flush")
        self.get("/internal/force_merge")
        last = -1
        while folder_bytes(self.folder + "/parts") != last:
            last = folder_bytes(self.folder + "/parts")
            time.sleep(2)

    def disk(self):
        parts = [f for f in files_under(self.folder + "/parts") if not f.endswith(".tmp")]
        out = subprocess.run([self.load, "parts", *parts], check=True, capture_output=True, text=True).stdout
        split = {"data": 0, "index": 0}
        for line in out.splitlines():
            section, size = line.rsplit(" ", 1)
            split["data" if section in ("chunks", "times", "chunkdir", "chunkidx") else "index"] += int(size)
        return {**split, "wal": folder_bytes(self.folder + "/wal") + folder_bytes(self.folder + "/checkpoint")}


class VictoriaMetrics(Server):
    label = "VictoriaMetrics"

    def command(self):
        return [self.binary, f"-storageDataPath={self.folder}", f"-httpListenAddr={self.addr}"]

    def settle(self):
        self.get("/internal/force_flush")
        self.get("/internal/force_merge")
        last, calm = -1, 0
        while calm < 3:
            now = folder_bytes(self.folder)
            calm = calm + 1 if now == last else 0
            last = now
            time.sleep(2)

    def disk(self):
        parts = {d: folder_bytes(f"{self.folder}/data/{d}") for d in ("small", "big", "indexdb")}
        index = parts["indexdb"] + folder_bytes(self.folder + "/indexdb")
        return {"data": parts["small"] + parts["big"], "index": index, "wal": 0}


class Prometheus(Server):
    label = "Prometheus"
    ready_path = "/-/ready"
    exports = False

    def command(self):
        config = self.folder + ".yml"
        with open(config, "w") as f:
            f.write("global: {}\n")
        return [self.binary, f"--config.file={config}", f"--storage.tsdb.path={self.folder}",
                f"--web.listen-address={self.addr}", "--web.enable-remote-write-receiver"]

    def disk(self):
        wal = sum(folder_bytes(os.path.join(self.folder, d)) for d in ("wal", "chunks_head"))
        total = folder_bytes(self.folder)
        index = sum(os.path.getsize(f) for f in files_under(self.folder) if os.path.basename(f) == "index")
        return {"data": total - wal - index, "index": index, "wal": wal}


def find(work, build, names):
    """The servers that are there; says which are not."""
    load = f"{build}/bench/bench_load"
    found = [(Kofstore, f"{build}/kofstore"),
             (VictoriaMetrics, os.environ.get("KOFSTORE_BENCH_VM") or shutil.which("victoria-metrics")),
             (Prometheus, os.environ.get("KOFSTORE_BENCH_PROM") or shutil.which("prometheus"))]
    servers = []
    for kind, binary in found:
        if names and kind.label.lower() not in names:
            continue
        if not binary or not os.path.exists(binary):
            print(f"{kind.label}: not found on PATH; not compared", flush=True)
            continue
        servers.append(kind(binary, f"{work}/{kind.label.lower()}", load))
    return servers
