#!/usr/bin/env python3
"""No global symbol may be defined in two of the static libraries: the linker would silently take one of them."""
import collections
import glob
import os
import subprocess
import sys

build = os.path.dirname(os.environ.get("KOFSTORE_BIN", "build/release/kofstore"))
where = collections.defaultdict(set)
libs = glob.glob(os.path.join(build, "libks_*.a"))
for lib in libs:
    out = subprocess.run(["nm", "-A", "--defined-only", lib], capture_output=True, text=True).stdout
    for line in out.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[-2] in "TDBR" and not fields[-1].startswith(("_Z", "DW.", "__")):
            where[fields[-1]].add(fields[0].rsplit(":", 1)[0])
double = {k: v for k, v in where.items() if len(v) > 1}
for name, files in sorted(double.items()):
    print(f"{name} is defined in {', '.join(sorted(files))}")
if not libs:
    print(f"no libraries in {build}")
sys.exit(1 if double or not libs else 0)
