"""Section 3, and the recipe of section 8: tables and elementary functions."""

from math import isqrt
from struct import pack

from .arithmetic import bits

LN_2 = 2977044472  # Q32


def powers_of_two(constant, n):
    values = [2**62]
    while len(values) < n:
        values.append(values[-1] * constant // 2**62)
    return values


RSQRT = [isqrt(2**46 // (1024 * (16 + i) + 512)) for i in range(48)]
P = powers_of_two(4512867096753504463, 33)
EXP2_Q16 = [(p + 2**45) // 2**46 for p in P]
EXP2_Q30 = [(p + 2**31) // 2**32 for p in P]
EXP2_1024 = [min((p + 2**45) // 2**46, 65535) for p in powers_of_two(4608565417332308035, 1024)]
RECIPROCAL = [(2**20 // (16 + i) + 1) // 2 for i in range(16)]

ONE = 2**56


def mul(a, b):
    assert a * b < 2**128
    return a * b // 2**56


def exp_neg(x):
    if x > 40 * ONE:
        return 0
    x = x // 256
    total = term = ONE
    for n in range(1, 24):
        term = mul(term, x) // n
        total += -term if n % 2 else term
    for _ in range(8):
        total = mul(total, total)
    return total


def logistic(x):
    return 2**112 // (ONE + exp_neg(x))


def gauss(x):
    if x >= 6 * ONE:
        return ONE
    density = mul(28746820885731650, exp_neg(mul(x, x) // 2))
    square = mul(x, x) // 2**16
    term = total = x // 2**16
    for n in range(3, 300, 2):
        term = (term * square // 2**40) // n
        total += term
    return ONE // 2 + density * total // 2**40


def gauss_tanh(x):
    c = mul(mul(x, x), x) * 44715 // 1000000
    return logistic(mul(114987283542926601, x + c))


def activation_table(function):
    return [(function(i * 2**51) - 2**55 + 2**40) // 2**41 for i in range(513)]


LOGISTIC = activation_table(logistic)
GAUSS = activation_table(gauss)
GAUSS_TANH = activation_table(gauss_tanh)

# Names and little-endian bytes, for the checksums that the document states.
ALL = {
    "RSQRT": pack("<48H", *RSQRT),
    "EXP2_Q16": pack("<33I", *EXP2_Q16),
    "EXP2_1024": pack("<1024H", *EXP2_1024),
    "EXP2_Q30": pack("<33I", *EXP2_Q30),
    "RECIPROCAL": pack("<16H", *RECIPROCAL),
    "LOGISTIC": pack("<513H", *LOGISTIC),
    "GAUSS": pack("<513H", *GAUSS),
    "GAUSS_TANH": pack("<513H", *GAUSS_TANH),
}


def rsqrt(x):
    assert 2**14 <= x < 2**16
    y = RSQRT[x // 1024 - 16]
    for _ in range(2):
        e = (3 * 2**30 - x * (y * y // 2**16)) // 2**16
        y = min((y * e // 2**14 + 1) // 2, 65535)
    return y


def exp2(d):
    k, i, f = d // 65536, d // 2048 % 32, d % 2048
    if k > 16:
        return 0
    return (EXP2_Q16[i] - (EXP2_Q16[i] - EXP2_Q16[i + 1]) * f // 2048) // 2**k


def ln(x):
    x = max(x, 1)
    w = bits(x) - 1
    m = x * 2 ** (31 - w) if w <= 31 else x // 2 ** (w - 31)
    l = w
    for _ in range(20):
        m = m * m // 2**31
        b = m // 2**32
        m = m // 2**b
        l = 2 * l + b
    return (l * LN_2 + 2**35) // 2**36
