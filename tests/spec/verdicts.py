#!/usr/bin/env python3
"""For every bit of a file from byte FIRST to byte END: is the file refused with this bit flipped and its checksum mended?
Prints a digit for each bit, 1 where it is refused."""

import sys
from pathlib import Path
from zlib import crc32

from thumb.reader import Model
from thumb.refused import Refused


def refused(data):
    try:
        Model(data)
    except Refused:
        return 1
    return 0


def main():
    file, first, end = sys.argv[1:]
    data = Path(file).read_bytes()
    for bit in range(8 * int(first), 8 * int(end)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        # A flip of the checksum itself stays.
        if not 128 <= bit < 160:
            flipped[16:20] = crc32(flipped[20:]).to_bytes(4, "little")
        print(refused(bytes(flipped)), end="")


if __name__ == "__main__":
    main()
