#!/usr/bin/env python3
"""Who opens a folder is told by its README what each file in it is for; and what a document names is there.

A .c, .h or .cc file counts as named when the README of its folder (or of the nearest folder above that has one) has its name, the
name of its other half (`x.h` for x.c and x_priv.h), or in backticks a pattern that covers it: `x_*.c`, `x.*`, `x_{a,b}.c`, `x.{h,c}`. Unit tests
and fuzzers are named for what they test and need no line. The other way round, every file of the project that a document names
in backticks exists, and no README of a folder has lines beyond 160 columns, tables excepted.
"""
import fnmatch
import os
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ENDINGS = (".c", ".h", ".cc")
FREE = ("tests/unit/", "tests/fuzz/")  # found by name: see tests/README.md
NAMED = re.compile(r"^[\w.*/{},-]+\.(?:c|h|cc|py|sh|md|txt|cmake|proto|\*|\{h,cc?\})$")
COLUMNS = 160


def expand(pattern):
    """The alternatives of x_{a,b}.c; braces may stand in several places."""
    m = re.search(r"\{([^{}]*)\}", pattern)
    if not m:
        return [pattern]
    return [one for part in m.group(1).split(",") for one in expand(pattern[: m.start()] + part + pattern[m.end():])]


def names(text):
    """Names and patterns of files in backticks, as they are written and with their braces expanded."""
    for span in re.findall(r"`([^`\n]+)`", text):
        for word in re.split(r",(?![^{]*\})|\s", span):
            if NAMED.match(word):
                yield word, expand(word)


def half(name):
    """x of x.c, x.h, x.cc, x.*, x_priv.h"""
    base, dot, ending = name.rpartition(".")
    return base.removesuffix("_priv") if dot + ending in ENDINGS + (".*",) else name


def covers(pattern, name):
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(half(name), half(pattern))


def readme_of(path, readmes):
    folder = os.path.dirname(path)
    while os.path.join(folder, "README.md") not in readmes:
        folder = os.path.dirname(folder)
    return os.path.join(folder, "README.md")


def unnamed(files, texts):
    """Source files that no README covers, with the README that should."""
    for path in files:
        if not path.endswith(ENDINGS) or path.startswith(FREE):
            continue
        readme = readme_of(path, texts)
        inside = os.path.relpath(path, os.path.dirname(readme) or ".")
        patterns = [p for _, expanded in names(texts[readme]) for p in expanded]
        if not any(covers(p, inside) or ("/" not in p and covers(p, os.path.basename(path))) for p in patterns):
            yield path, readme


def absent(document, text, files):
    """Names in a document that no file of the project has: below its folder, below the root, or anywhere by the bare name."""
    folder = os.path.dirname(document)
    bare = {os.path.basename(f) for f in files}
    for written, expanded in names(text):
        for p in expanded:
            whole = (os.path.normpath(os.path.join(folder, p)), p)
            found = any(fnmatch.fnmatchcase(f, w) for w in whole for f in files) or \
                any(fnmatch.fnmatchcase(f, "*/" + p) for f in files) or \
                ("/" not in p and any(covers(p, b) for b in bare))
            if not found:
                yield written


def main():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [f for f in listed.stdout.split("\n") if f and os.path.exists(os.path.join(ROOT, f))]
    documents = {f: open(os.path.join(ROOT, f), encoding="utf-8").read() for f in files if f.endswith(".md")}
    readmes = {f: t for f, t in documents.items() if os.path.basename(f) == "README.md"}
    bad = 0
    for path, readme in unnamed(files, readmes):
        print(f"{path}: named nowhere, wants a line in {readme}")
        bad += 1
    for document, text in documents.items():
        for name in sorted(set(absent(document, text, files))):
            print(f"{document}: there is no {name}")
            bad += 1
        for number, line in enumerate(text.split("\n"), 1):
            if document in readmes and "/" in document and len(line) > COLUMNS and not line.startswith("|"):
                print(f"{document}:{number}: {len(line)} columns of {COLUMNS}")
                bad += 1
    print(f"{len(readmes)} READMEs, {len(files)} files, {bad} to put right")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
