#!/usr/bin/env python3
"""Reads lines `FILE TOKEN TOKEN ...`, feeds each file its tokens, and prints the digest of the logits after every token,
and how many times the residual stream was near its limit."""

import sys
from pathlib import Path

from thumb.decoder import Decoder
from thumb.digest import Digest
from thumb.reader import Model

for line in sys.stdin:
    file, *tokens = line.split()
    # As a runtime that skips verification: it computes on whatever scales there are.
    decoder, digest = Decoder(Model(Path(file).read_bytes(), whole=False)), Digest()
    for token in map(int, tokens):
        digest.add(decoder.step(token))
    print(digest, decoder.saturations, flush=True)
