"""Section 7: attention."""

from operator import mul

from .arithmetic import R, S, bits, ceil_div, clog2, cut
from .tables import EXP2_1024, RECIPROCAL
from .vector import block_shift


def low16(v):
    """The low 16 bits, as two's complement."""
    return (v + 2**15) % 2**16 - 2**15


def rotate(x, row):
    """Pairs of neighbours, in every head; `row` is that of the position."""
    out = []
    for i in range(0, len(x), 2):
        a, b = x[i], x[i + 1]
        c, s = row[i % len(row)], row[i % len(row) + 1]
        out.append(low16(R(a * c - b * s, 14)))
        out.append(low16(R(a * s + b * c, 14)))
    return out


def cached(x, u):
    """The elements of a head and its scale byte, as the cache has them."""
    m = max(map(abs, x))
    z = 0
    if m > 0:
        p = m * 33027
        k = bits(p) - 5
        mantissa = ceil_div(p, 2**k)
        exponent = k + u - 22
        if mantissa == 32:
            mantissa, exponent = 16, exponent + 1
        z = 0 if exponent < 0 else 16 * exponent + mantissa - 16 if exponent <= 15 else 255
    shift = 19 + z // 16 - u
    return [cut(R(v * RECIPROCAL[z % 16], shift), -128, 127) for v in x], z


class Cache:
    """Keys and values of a block: for each position and KV head, elements and a scale byte."""

    def __init__(self):
        self.keys, self.values = [], []

    def push(self, keys, values):
        self.keys.append(keys)
        self.values.append(values)


def heads(x, head_dim):
    return [x[i : i + head_dim] for i in range(0, len(x), head_dim)]


def attention(config, cache, queries, keys, values, row):
    """The outputs of all heads, for i32 vectors of the new token; `row` of the rotary table or `None`."""
    frac, head_dim = config.frac, config.head_dim
    n = max(0, clog2(head_dim) - 4)

    u = max(block_shift(queries, 14), 2 * frac - n - 34)
    u_keys, u_values = block_shift(keys, 14), block_shift(values, 14)
    queries = [S(v, u) for v in queries]
    keys = [S(v, u_keys) for v in keys]
    values = [S(v, u_values) for v in values]
    if row is not None:
        queries, keys = rotate(queries, row), rotate(keys, row)
    cache.push(
        [cached(head, u_keys) for head in heads(keys, head_dim)],
        [cached(head, u_values) for head in heads(values, head_dim)],
    )

    group = config.n_heads // config.n_kv_heads
    out = []
    for h, query in enumerate(heads(queries, head_dim)):
        keys = [position[h // group] for position in cache.keys]
        values = [position[h // group] for position in cache.values]
        out.extend(one_head(config, query, 2 * frac - u, n, keys, values))
    return out


def one_head(config, query, g, n, keys, values):
    scores, f = scores_of(query, g, n, keys)
    c = clog2(ceil_div(config.seq_len, 512))
    top = max(scores)
    exponentials = []
    for score in scores:
        d = min(top - score, 32 * 2**f - 1)
        exponentials.append(EXP2_1024[d % 2**f * 2 ** (10 - f)] // 2 ** (d // 2**f))
    total = sum(exponentials)
    assert 65535 <= total < 2**31

    y = max(z // 16 for _, z in values)
    weights = [R(e * (16 + z % 16), y + 6 + c - z // 16) for e, (_, z) in zip(exponentials, values)]
    l = bits(total)
    lead = total * 2**16 // 2**l
    out = []
    for column in zip(*(elements for elements, _ in values)):
        weighted = sum(map(mul, weights, column))
        assert -(2**31) < weighted < 2**31
        out.append(R(R(weighted, l - 9 - c) * (2**30 // lead), 17 - y))
    return out


def scores_of(query, g, n, keys):
    """Scores of all positions, and their fraction bits."""
    z_max = max(z // 16 for _, z in keys)
    f = cut(g - n - z_max, 0, 10)
    base = max(g - n - f, z_max)
    scores = []
    for elements, z in keys:
        dot = sum(map(mul, elements, query))
        assert -(2**31) < dot < 2**31
        scores.append(R(R(dot, n) * (16 + z % 16), base - z // 16))
    return scores, f
