"""Section 8: the hidden vector of an MLP, and the exponent of its elements."""

from .arithmetic import R, S, bits, scaled
from .tables import GAUSS, GAUSS_TANH, LOGISTIC
from .vector import block_shift, largest

SILU, GELU, GELU_TANH, RELU, RELU_SQUARED = range(5)
TABLES = {SILU: LOGISTIC, GELU: GAUSS, GELU_TANH: GAUSS_TANH, RELU: None}


def opened(table, x, shift):
    """`open(|x|)` in Q15, with `|x| * 2^shift` in Q10."""
    if table is None:
        return 16384
    t = min(scaled(abs(x), shift), 16 * 1024 - 1)
    j = t // 32
    return table[j] + R((table[j + 1] - table[j]) * (t % 32), 5)


def hidden_vector(activation, gate, up, frac):
    """`up` is `None` where the MLP is not gated."""
    s = block_shift(gate, 14)
    x = [S(v, s) for v in gate]
    k = 0 if up is None else 31 - bits(largest(up))
    if activation == RELU_SQUARED:
        squares = [max(v, 0) ** 2 for v in x]
        if up is None:
            return squares, 2 * (s - frac)
        return [(v << k) * R(p, 14) >> 16 for v, p in zip(up, squares)], 30 + 2 * s - k - 3 * frac
    table = TABLES[activation]
    act = [R(v * 2**14 + abs(v) * opened(table, v, 10 - frac + s), 15) for v in x]
    if up is None:
        return act, s - frac
    return [(v << k) * a >> 16 for v, a in zip(up, act)], 16 + s - k - 2 * frac
