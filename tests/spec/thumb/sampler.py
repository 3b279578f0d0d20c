"""Sections 10 and 11: probabilities, and the choice of a token."""

from math import floor, isnan

from .arithmetic import R, bits, ceil_div, cut, sat
from .tables import EXP2_Q30, LN_2, exp2, ln

ONE = 65536
LOG2_E = 1549082005  # Q30


def exp2_q30(d):
    k, i, f = d // 65536, d // 2048 % 32, d % 2048
    if k > 30:
        return 0
    t = f * LN_2 // 2**16
    return EXP2_Q30[i] * (2**32 - t + t * t // 2**33) // 2**32 // 2**k


def log_prob(logits, frac, token):
    if token >= len(logits):
        return -(2**31)
    top = max(logits)
    total = 0
    for v in logits:
        base_2 = ((top - v) * LOG2_E + 2 ** (13 + frac)) // 2 ** (14 + frac)
        total += exp2_q30(min(base_2, 2**32 - 1))
    return max(-R((top - logits[token]) * 2**16, frac) - max(0, ln(total) - 1362783), -(2**31))


def q16(value, low, high, off):
    """A setting, from a real number."""
    if isnan(value):
        return off
    return floor(cut(value, low, high) * ONE + 0.5)


class Xoroshiro:
    """xoroshiro64** 1.0."""

    def __init__(self, seed):
        z = (seed + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
        self.a, self.b = (z % 2**32, z >> 32) if z else (1, 0)

    def next(self):
        a = self.a
        out = rotl(a * 0x9E3779BB % 2**32, 5) * 5 % 2**32
        b = self.b ^ a
        self.a, self.b = rotl(a, 26) ^ b ^ (b << 9) % 2**32, rotl(b, 13)
        return out


def rotl(v, n):
    return (v << n | v >> (32 - n)) % 2**32


class Sampler:
    def __init__(self, seed=42, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, penalty=1.0):
        self.random = Xoroshiro(seed)
        # Zero stays: greedy.
        self.temperature = 0 if temperature <= 0 else q16(temperature, 1 / 64, 64, ONE)
        self.top_k = top_k
        self.top_p = q16(top_p, 0, 1, ONE)
        self.min_p = q16(min_p, 0, 1, 0)
        self.penalty = q16(penalty, 1 / 16, 16, ONE)

    def sample(self, logits, frac, history):
        logits = self.penalised(logits, history)
        if self.temperature == 0:
            return logits.index(max(logits))
        candidates = self.distances(logits, frac)
        if self.top_k:
            candidates = candidates[: self.top_k]
        weights = [(token, exp2(d)) for d, token in candidates]
        weights = [(token, w) for token, w in weights if w >= self.min_p]
        if self.top_p != ONE:
            weights = self.nucleus(weights)
        x = self.random.next() * sum(w for _, w in weights) // 2**32
        for token, weight in sorted(weights):
            if weight > x:
                return token
            x -= weight
        raise AssertionError("the weights add up to more than x")

    def penalised(self, logits, history):
        if self.penalty == ONE:
            return logits
        logits, reciprocal = list(logits), 2**32 // self.penalty
        for token in set(history[-64:]):
            v = logits[token]
            logits[token] = sat(v * (reciprocal if v > 0 else self.penalty) // 65536)
        return logits

    def distances(self, logits, frac):
        """`(distance, token)` of all that have one, in order."""
        q = LOG2_E * 2**18 // self.temperature
        n = bits(q)
        m = q // 2 ** (n - 16)
        right, left = max(0, frac + 32 - n), max(0, n - frac - 32)
        shrink = max(0, right - 10)
        top, out = max(logits), []
        for token, v in enumerate(logits):
            d = ceil_div(top - v, 2**shrink)
            if d > 65535 // 2**left:
                continue
            distance = d * m * 2**left // 2 ** min(right, 10)
            if distance < 16 * 65536:
                out.append((distance, token))
        return sorted(out)

    def nucleus(self, weights):
        enough = max(1, ceil_div(sum(w for _, w in weights) * self.top_p, 65536))
        reached = 0
        for count, (_, weight) in enumerate(weights, 1):
            reached += weight
            if reached >= enough:
                return weights[:count]
        return weights
