"""Sections 4 and 5: what a matrix reads, and linear layers."""

from operator import mul

from .arithmetic import R, S, are_i32, bits, ceil_div, clog2, sat


def normalised(m, e):
    assert 1 <= m < 2**32
    k = bits(m) - 15
    return (m >> k, e + k) if k >= 0 else (m << -k, e + k)


def a16_bits(n):
    """`A(n)`."""
    return 14 - clog2(ceil_div(n, 512))


def largest(v):
    return max(max(v), -1 - min(v))


def block_shift(v, b):
    """`B(v, b)`."""
    return bits(largest(v)) - b


def quantise(values, e, width):
    """For a matrix with as many columns that reads elements of `width` bits."""
    assert are_i32(values)
    s = block_shift(values, a16_bits(len(values)))
    return narrow([S(v, s) for v in values], (2**14, e + s - 14), width)


def narrow(q, scale, width):
    if width == 16:
        return q, scale
    m = max(map(abs, q))
    if m == 0:
        return q, scale
    r = 127 * 2**24 // m
    a, b = normalised(m * 33026, -22)
    mantissa, exponent = scale
    return [R(v * r, 24) for v in q], normalised(mantissa * a, exponent + b)


def linear(matrix, vector, frac):
    """`W x + b`, with `frac` fraction bits."""
    q, (sm, se) = vector
    n = matrix.cols
    assert n == len(q)
    u = 0 if matrix.input == 16 else 8 - clog2(ceil_div(n, 512))
    right = u - 32 - matrix.exponent - se - frac
    biases = matrix.bias or [0] * matrix.rows
    y = []
    for row, h, b in zip(matrix.weights, matrix.scales, biases):
        dot = sum(map(mul, row, q)) << u
        assert -(2**31) < dot < 2**31
        t = ((dot * h >> 16) * sm) >> 16
        y.append(sat(S(t, right) + b))
    return y
