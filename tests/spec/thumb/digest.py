"""Section 13: one number for all logits."""


class Digest:
    def __init__(self):
        self.state = 0xCBF29CE484222325

    def add(self, logits):
        h = self.state
        for v in logits:
            for byte in (v % 2**32).to_bytes(4, "little"):
                h = (h ^ byte) * 0x100000001B3 % 2**64
        self.state = h

    def __str__(self):
        return f"{self.state:016x}"
