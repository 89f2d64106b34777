#!/usr/bin/env python3
"""The offline tools against a folder a real server wrote: ls, info, verify, export, damage, repair, and the server again."""
import csv
import glob
import io
import json
import os
import random
import shutil
import subprocess
import tempfile

import ingest_lib as lib
from ingest_lib import BIN, check, check_true

T0 = 1700006400000  # a midnight


def tool(*args):
    p = subprocess.run([BIN, *args], capture_output=True, text=True)
    return p.returncode, p.stdout, p.stderr


def serve(folder):
    port = lib.free_port()
    argv = [BIN, "serve", f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y",
            "-storage.shards=4"]
    return lib.started(argv, port, what="kofstore")


def fill(s):
    rng = random.Random(4)
    lines = []
    for k in range(60):
        values = [rng.randrange(10**6) / 4 for _ in range(1500)]
        lines.append(json.dumps({"metric": {"__name__": "m", "k": f"{k:02}", "odd": 'a"b\\c\n'}, "values": values,
                                 "timestamps": [T0 + i * 15000 for i in range(1500)]}))
    check("import", s.http("/api/v1/import", "\n".join(lines).encode())[0], 204)
    s.http("/internal/force_flush")
    s.http("/internal/force_merge")


def samples_of(text):
    out = {}
    for line in text.splitlines():
        row = json.loads(line)
        key = ",".join(f"{k}={v}" for k, v in sorted(row["metric"].items()))
        out.setdefault(key, []).extend(zip(row["timestamps"], row["values"]))
    return {k: sorted(v) for k, v in out.items()}


def exports(folder, full):
    got = {}
    for part in sorted(glob.glob(folder + "/parts/*/*.part")):
        code, out, err = tool("block", "export", part)
        check("export status", (code, err), (0, ""))
        for k, v in samples_of(out).items():
            got.setdefault(k, []).extend(v)
    # Open chunks lie in the checkpoint until they are full; what is in parts is what the server answers.
    check_true("jsonl export has nothing but what the server answers", all(set(v) <= set(full[k]) for k, v in got.items()))
    check_true("jsonl export has all series and most samples",
               len(got) == 60 and all(len(set(v)) > 1000 and len(v) == len(set(v)) for v in got.values()))
    part = max(glob.glob(folder + "/parts/*/*.part"), key=os.path.getsize)
    one = 'm{k="07"}'
    _, out, _ = tool("block", "export", part, "-selector", one)
    want = sum(len(v) for v in samples_of(out).values())
    check("one series", len(samples_of(out)), 1)
    _, out, _ = tool("block", "export", part, f"--selector={one}", "--format=prometheus")
    check("prometheus lines", len(out.splitlines()), want)
    check_true("prometheus text", out.startswith('m{k="07",odd="a\\"b\\\\c\\n"} '), out[:80])
    _, out, _ = tool("block", "export", part, "-selector", one, "-format=csv")
    rows = list(csv.reader(io.StringIO(out)))
    check("csv rows", (len(rows), len(rows[0]), rows[0][:3]), (want, 5, ["0", "0", 'm{k="07",odd="a\\"b\\\\c\\n"}']))
    check("bad format", tool("block", "export", part, "-format=xml")[0], 2)
    check("bad selector", tool("block", "export", part, "-selector={a=}")[0], 2)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        c = f.read(1)
        f.seek(at)
        f.write(bytes([c[0] ^ 16]))


def tree(folder):
    return {p: open(p, "rb").read() for p in glob.glob(folder + "/**", recursive=True) if os.path.isfile(p)}


def damage(folder, full):
    part = max(glob.glob(folder + "/parts/*/*.part"), key=os.path.getsize)
    flip(part, os.path.getsize(part) // 3)
    before = tree(folder)
    code, out, err = tool("block", "verify", folder)
    check("verify sees damage", code, 1)
    check_true("verify names the file", part in out and "DAMAGED" in out, out)
    code, _, err = tool("block", "export", part)
    check_true("export says what is missing", code == 1 and "damaged" in err, err)
    check_true("only repair writes", tree(folder) == before)
    code, out, err = tool("block", "repair", folder)
    check_true("repair", code == 0 and "salvaged=1" in out, out + err)
    check("verify after repair", tool("block", "verify", folder)[0], 0)
    with serve(folder) as s:
        left = s.export("m")
        check("a running server keeps repair out", tool("block", "repair", folder)[0], 1)
    have = {k: set(v) for k, v in left.items()}
    check_true("nothing invented", all(set(v) <= set(full[k]) for k, v in left.items()))
    n, all_n = sum(map(len, have.values())), sum(map(len, full.values()))
    check_true("most is saved", all_n // 2 < n < all_n, f"{n} of {all_n}")


def lost_manifest(folder, full):
    for name in ("MANIFEST", "MANIFEST.prev"):
        if os.path.exists(f"{folder}/{name}"):
            os.unlink(f"{folder}/{name}")
    check_true("ls says so", tool("block", "ls", folder)[0] == 1)
    code, _, err = tool("block", "repair", folder)
    check_true("repair asks for the shards", code == 2 and "-shards" in err, err)
    code, out, err = tool("block", "repair", folder, "-shards=4")
    check_true("repair", code == 0 and "manifest=rebuilt" in out, out + err)
    with serve(folder) as s:
        check_true("everything is back", s.export("m") == full)


def main():
    folder = tempfile.mkdtemp()
    try:
        with serve(folder) as s:
            fill(s)
            full = s.export("m")
            check("samples", sum(map(len, full.values())), 60 * 1500)
        code, out, _ = tool("block", "ls", folder)
        check_true("ls", code == 0 and "series=60" in out, out)
        code, out, _ = tool("block", "verify", folder)
        check_true("verify", code == 0 and "good" in out, out)
        code, out, _ = tool("block", "info", glob.glob(folder + "/parts/*/*.part")[0])
        check_true("info", code == 0 and "samples:" in out and "section chunks" in out, out)
        check_true("wal", tool("wal", "ls", folder)[0] == 0 and tool("wal", "verify", folder)[0] == 0)
        check("usage", (tool("block")[0], tool("block", "frob", folder)[0], tool("block", "ls", folder, "-x=1")[0]), (0, 2, 2))
        check("absent", tool("block", "info", folder + "/nothing")[0], 1)
        exports(folder, full)
        copy = folder + ".copy"
        shutil.copytree(folder, copy)
        try:
            lost_manifest(copy, full)
        finally:
            shutil.rmtree(copy)
        damage(folder, full)
    finally:
        shutil.rmtree(folder)
    lib.finish()


main()
