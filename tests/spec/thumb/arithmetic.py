"""Section 1: notation. Integers of Python have no end; what must fit 32 bits is asserted where it is cheap."""


def bits(v):
    assert v >= 0
    return v.bit_length()


def clog2(n):
    assert n >= 1
    return (n - 1).bit_length()


def ceil_div(a, b):
    return -(-a // b)


def cut(v, low, high):
    return low if v < low else high if v > high else v


def R(v, s):
    """Shift to the right, rounded half up."""
    assert s >= 0
    return (v + (1 << s >> 1)) >> s


def sat(v):
    return cut(v, -(2**31), 2**31 - 1)


def S(v, s):
    return R(v, s) if s >= 0 else sat(v << -s)


def scaled(v, k):
    """`floor(v * 2^k)`."""
    return v << k if k >= 0 else v >> -k


def are_i32(values):
    return max(values) < 2**31 and min(values) >= -(2**31)
