#!/usr/bin/env python3
"""The offline tools against log stores a real server wrote: ls, info, verify, export and import, damage, repair, and the server again."""
import glob
import json
import os
import random
import shutil
import subprocess
import tempfile
import time

from logs_lib import *  # noqa: F401,F403
import ingest_lib as lib
from ingest_lib import BIN, check, check_true

N = 24000


def tool(*args):
    p = subprocess.run([BIN, *args], capture_output=True, text=True)
    return p.returncode, p.stdout, p.stderr


def serve(folder):
    port = lib.free_port()
    return lib.started([BIN, "serve", f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=FATAL",
                        "-logs.store=audit:1y", "-delete.enable"], port, what="kofstore")


def fill(s):
    rng = random.Random(5)
    start = (int(time.time()) // 86400 - 1) * 86400 * 10**9
    items = [{"_time": start + i * 10**9, "_msg": f"GET /p/{i} took {rng.random():.4f}s id={rng.getrandbits(64):016x}", "app": "abc"[i % 3],
              "n": str(i), "odd": 'a"\\\n\u00e9\u0001', "noise": "".join(rng.choices("abcdefghij ", k=60))} for i in range(N)]
    body = "".join(json.dumps(x) + "\n" for x in items).encode()
    check("insert", s.http("/insert/jsonline?_stream_fields=app", body)[0], 200)
    check("audit", s.http("/store/audit/insert/jsonline?_stream_fields=app", body[:body.index(b"\n") + 1])[0], 200)
    s.http("/internal/force_merge")
    s.http("/delete/run_task", args={"filter": "n:range[100, 109]"})
    for _ in range(200):
        if s.http("/delete/active_tasks")[2] == b"[]":
            break
        time.sleep(0.05)
    return {(r["_time"], json.dumps(r, sort_keys=True)) for r in everything(s)}


def everything(s):
    return rows(s, "* | limit 100000")


def part_of(folder):
    return max(glob.glob(folder + "/logs/logs/parts/*/*.part"), key=os.path.getsize)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        c = f.read(1)
        f.seek(at)
        f.write(bytes([c[0] ^ 16]))


def reading(folder, full):
    code, out, err = tool("block", "ls", folder)
    check_true("ls", code == 0 and "/logs/logs/parts/" in out and "/logs/audit/parts/" in out and "has_deleted" in out, out + err)
    code, out, _ = tool("block", "info", part_of(folder))
    check_true("info", code == 0 and "kind: logs" in out and f"rows: {N}" in out and "column _msg: rows=" in out and "section columns" in out, out)
    code, out, _ = tool("block", "verify", folder)
    check_true("verify", code == 0 and "good" in out, out)
    code, out, err = tool("block", "export", part_of(folder))
    got = {(json.loads(x)["_time"], json.dumps(json.loads(x), sort_keys=True)) for x in out.splitlines()}
    check("export", (code, err, len(got), full <= got), (0, "", N, True))  # the deleted rows are still in the file
    code, one, _ = tool("block", "export", part_of(folder), "-selector", '{app="b"}')
    check("one stream", {json.loads(x)["app"] for x in one.splitlines()}, {"b"})
    check("bad format", tool("block", "export", part_of(folder), "-format=csv")[0], 2)
    with lib.kofstore("-loggerLevel=FATAL") as s:  # what was exported comes back by the usual way
        check("import", s.http("/insert/jsonline?_stream_fields=app", out.encode())[0], 200)
        back = {(r["_time"], json.dumps(r, sort_keys=True)) for r in everything(s)}
        check("the same rows", back == got, True)


def damage(folder, full):
    part = part_of(folder)
    flip(part, os.path.getsize(part) // 2)
    code, out, _ = tool("block", "verify", folder)
    check_true("verify sees damage", code == 1 and part in out and "column" in out, out)
    code, out, err = tool("block", "export", part)
    check_true("export says what is missing", code == 1 and "damaged" in err, err)
    code, out, err = tool("block", "repair", folder)
    check_true("repair", code == 0 and "salvaged=1" in out, out + err)
    check("verify after repair", tool("block", "verify", folder)[0], 0)
    with serve(folder) as s:
        left = everything(s)
        check("a running server keeps repair out", tool("block", "repair", folder)[0], 1)
    known = {json.loads(text)["n"]: json.loads(text) for _, text in full}
    check("each row is saved, deleted ones stay deleted", sorted(r["n"] for r in left), sorted(known))
    fields = {k for r in left for k, v in known[r["n"]].items() if r.get(k) != v}
    check_true("one column is missing, no value was changed",
               len(fields) == 1 and all(k in known[r["n"]] for r in left for k in r) and all(r.get(k) in (None, v) for r in left for k, v in known[r["n"]].items()),
               str(fields))


def lost_manifest(folder, full):
    os.unlink(folder + "/logs/logs/MANIFEST")
    check("ls says so", tool("block", "ls", folder)[0], 1)
    code, out, err = tool("block", "repair", folder)
    check_true("repair", code == 0 and "manifest=rebuilt" in out, out + err)
    with serve(folder) as s:
        back = {(r["_time"], json.dumps(r, sort_keys=True)) for r in everything(s)}
        check_true("nothing is lost", full <= back, f"{len(back)}")
        check("audit", len(rows(s, prefix="/store/audit")), 1)


folder = tempfile.mkdtemp()
try:
    with serve(folder) as s:
        full = fill(s)
        check("rows", len(full), N - 10)
    reading(folder, full)
    for test in (damage, lost_manifest):
        shutil.copytree(folder, folder + ".copy")
        try:
            test(folder + ".copy", full)
        finally:
            shutil.rmtree(folder + ".copy")
finally:
    shutil.rmtree(folder)
lib.finish()
