#!/usr/bin/env python3
"""A folder may include headers of lower floors only (docs/ARCHITECTURE.md). Tests and benches may include anything."""
import os
import re
import subprocess
import sys

FLOOR = {"include": 0, "base": 0, "sys": 1, "wal": 2, "storage": 2, "index": 3, "compaction": 4, "retention": 4,
         "engine": 5, "query": 6, "replication": 6, "api": 7, "cmd": 8}
root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
files = subprocess.run(["git", "ls-files", "*.c", "*.h", "*.cc"], cwd=root, capture_output=True, text=True).stdout.split()
bad = 0
for path in files:
    top = path.split("/")[0]
    if top not in FLOOR:
        continue
    with open(os.path.join(root, path), encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            m = re.match(r'#include "([^"/]+)/', line)
            if not m or m.group(1) not in FLOOR:
                continue
            other = m.group(1)
            if other != top and FLOOR[other] >= FLOOR[top]:
                print(f"{path}:{number}: {top} may not include {line.strip()}")
                bad += 1
print(f"{len(files)} files, {bad} includes against the floors")
sys.exit(1 if bad else 0)
