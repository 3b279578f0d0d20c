"""The batches of a run: the same sequences, in the same order, as the Rust engine draws.

See host-trainer/src/nn/random.rs (the generator) and host-trainer/src/train/trainer.rs (the batches).
"""

import numpy as np
import torch

MASK = (1 << 64) - 1
# Keep the random choices of a step apart from each other.
BATCH_STREAM = 0xBA7C
DROPOUT_STREAM = 0xD409


class Random:
    """SplitMix64, a stream for each key."""

    def __init__(self, *key: int):
        self.state = 0
        for part in key:
            self.state ^= part * 0xD1B54A32D192ED03 & MASK
            self.state = self.next_u64()

    def next_u64(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = (self.state ^ self.state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return z ^ z >> 31

    def below(self, n: int) -> int:
        """Uniform in 0..n."""
        return self.next_u64() * n >> 64


def rows(tokens: np.ndarray, starts: list[int], seq_len: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets `[len(starts), seq_len]`; the targets are one token further on."""
    cut = np.stack([tokens[start : start + seq_len + 1] for start in starts]).astype(np.int64)
    cut = torch.from_numpy(cut)
    return cut[:, :-1], cut[:, 1:]


def batch(tokens: np.ndarray, seed: int, step: int, size: int, seq_len: int) -> list[int]:
    """Where the sequences of a step's batch start."""
    random = Random(seed, BATCH_STREAM, step)
    return [random.below(len(tokens) - seq_len) for _ in range(size)]


def chunks(tokens: np.ndarray, chunk: int, limit: int | None) -> list[int]:
    """Where the chunks of an evaluation start: all, or as many as fit `limit` tokens but at least one."""
    length = len(tokens) if limit is None else min(len(tokens), max(limit, chunk) + 1)
    return [i * chunk for i in range((length - 1) // chunk)]
