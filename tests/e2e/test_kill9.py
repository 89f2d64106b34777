#!/usr/bin/env python3
"""Five rounds of tests/crash/kill9.py: the short form of `./dev crash`."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "crash"))
import kill9

sys.exit(kill9.main(5, int(sys.argv[1]) if len(sys.argv) > 1 else 1))
