"""Section 6: norms."""

from math import isqrt

from .arithmetic import R, S, bits
from .tables import rsqrt
from .vector import a16_bits, block_shift, narrow, normalised

# The kinds that are not RMSNorm.
LAYER, BATCH = 1, 2


def epsilon(v, k):
    """`U(v, k)`."""
    if k > 0 and v > 0 and k + bits(v) > 62:
        return 2**62
    return v << k if k >= 0 else v >> -k


def over_rms(x, s, config):
    """The scale of `x / rms(x)`, steps 3 to 7."""
    n = len(x)
    squares = sum(v * v for v in x)
    eps = epsilon(config.epsilon_mantissa * n, config.epsilon_exponent - 2 * (s - config.frac))
    total = max(squares + eps, 1)
    assert total < 2**63
    h = (bits(total) - 15) // 2  # floor, below 0 too
    y = rsqrt(total >> 2 * h if h >= 0 else total << -2 * h)
    d = (32 - bits(n)) // 2
    root = isqrt(n * 4**d)
    return normalised(y * root, -23 - h - d)


def norm(hidden, gain, config, width):
    """The vector that matrices of this input width read."""
    n = len(hidden)
    layer = config.norm == LAYER
    s = block_shift(hidden, 13 if layer else 14)
    x = [S(v, s) for v in hidden]
    if layer:
        mean = (sum(v + 2**15 for v in x) + n // 2) // n - 2**15
        x = [v - mean for v in x]
    if config.norm == BATCH:
        mantissa, exponent = 2**14, s - config.frac - 14
    else:
        mantissa, exponent = over_rms(x, s, config)
    if gain.values is not None:
        x = [R(v * g, 15) for v, g in zip(x, gain.values)]
        exponent += gain.exponent + 15
    l = 14 - a16_bits(n)
    if l > 0:
        x = [R(v, l) for v in x]
        exponent += l
    return narrow(x, (mantissa, exponent), width)
