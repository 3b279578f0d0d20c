#!/usr/bin/env python3
"""Reads lines `FRONT_END SAMPLE SAMPLE ...` and prints the digest of the features of each."""

import sys

from thumb.audio import FrontEnd
from thumb.digest import Digest

for line in sys.stdin:
    name, *samples = line.split()
    digest = Digest()
    for row in FrontEnd(name).rows([int(sample) for sample in samples]):
        digest.add(row)
    print(digest, flush=True)
