#!/usr/bin/env python3
"""README's tables of endpoints and flags are what the program prints. With --write they are written into it."""
import os
import re
import subprocess
import sys

root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
binary = os.environ.get("KOFSTORE_BIN", os.path.join(root, "build/release/kofstore"))
path = os.path.join(root, "README.md")
text = open(path, encoding="utf-8").read()
want = text
for topic in ("endpoints", "flags"):
    table = subprocess.run([binary, "help", topic], capture_output=True, text=True, check=True).stdout.strip()
    want = re.sub(rf"(<!-- {topic} -->\n).*?(<!-- /{topic} -->)", lambda m: m[1] + table + "\n" + m[2], want, flags=re.S)
if "--write" in sys.argv:
    open(path, "w", encoding="utf-8").write(want)
elif want != text:
    print("README.md differs from `kofstore help`: run tests/lint/readme.py --write")
    sys.exit(1)
