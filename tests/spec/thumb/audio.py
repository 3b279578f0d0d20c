"""Section 14: the audio front end."""

from collections import namedtuple
from math import cos, floor, isqrt, pi

from .arithmetic import R
from .tables import rsqrt

Spec = namedtuple("Spec", "rate frame hop points bands low high coefficients floor")
SPECS = {
    "kwt": Spec(16000, 480, 160, 512, 80, 20, 7600, 40, -2612471),
    "voice-8k": Spec(8000, 256, 128, 256, 40, 20, 3800, 20, -2612471),
}
LN_2 = 1488522236


def cosine(n, d):
    return min(floor(2**31 * cos(2 * pi * (n % d) / d) + 0.5), 2**31 - 1)


def log2(x):
    whole = x.bit_length() - 1
    m, log = x << (63 - whole), whole
    for _ in range(32):
        m = m * m >> 63
        bit = m >> 64
        m, log = m >> bit, 2 * log + bit
    return log


LOG2 = [(log2(128 + i) - (7 << 32) + 2**15) >> 16 for i in range(129)]


def lg(x):
    t = 64 - x.bit_length()
    g = x << t >> 32
    i, f = (g >> 24) % 128, (g >> 8) % 2**16
    return (63 - t << 16) + min(LOG2[i] + ((LOG2[i + 1] - LOG2[i]) * f >> 16), 65535)


def magnitude(re, im):
    q = re * re + im * im
    t = 64 - max(q, 1).bit_length() & ~1
    y = q << t >> 32
    return y * rsqrt(y >> 16) >> (15 + t // 2) if y >> 16 >= 2**14 else 0


class FrontEnd:
    def __init__(self, name):
        self.spec = spec = SPECS[name]
        self.window = [
            min((2**31 - cosine(n, spec.frame) + 1) // 2, 2**31 - 1) for n in range(spec.frame)
        ]
        points = spec.points
        self.root = [(cosine(k, points), cosine(k + points * 3 // 4, points)) for k in range(points // 2)]
        low, high = (log2((700 + hz) * points) for hz in (spec.low, spec.high))
        self.parts = []
        for k in range(1, points // 2):
            above = log2(700 * points + k * spec.rate) - low
            place = above * ((spec.bands + 1) << 15) // (high - low)
            if 0 <= above < high - low:
                b, w = divmod(place, 2**15)
                self.parts += [(k, b, w), (k, b - 1, 2**15 - w)]
        self.cosines = [cosine(j, 4 * spec.bands) for j in range(4 * spec.bands)]

    def rows(self, samples):
        last = len(samples) - self.spec.frame
        return [self.row(samples[i : i + self.spec.frame]) for i in range(0, last + 1, self.spec.hop)]

    def row(self, frame):
        spec, half = self.spec, self.spec.points // 2
        up = 30 - max(s if s >= 0 else -1 - s for s in frame).bit_length()
        x = self.split(self.transform(self.load(frame, up)))
        m = [0] + [magnitude(*x[k]) for k in range(1, half)]
        energies = [0] * (spec.bands + 1)  # the last one is also band -1: neither is there
        for k, b, w in self.parts:
            energies[b] += m[k] * w
        shift = up - (spec.points.bit_length() - 1) + 29
        return self.features(
            [max(lg(e) - (shift << 16), spec.floor) if e else spec.floor for e in energies[: spec.bands]]
        )

    def load(self, frame, up):
        v = [(s << up) * w >> 32 for s, w in zip(frame, self.window)]
        return v + [0] * (self.spec.points - len(v))

    def transform(self, v):
        half = self.spec.points // 2
        digits = half.bit_length() - 1
        order = [int(f"{j:0{digits}b}"[::-1], 2) for j in range(half)]
        z = [(v[2 * r], v[2 * r + 1]) for r in order]
        for at in range(0, half, 4):
            (ar, ai), (br, bi), (cr, ci), (dr, di) = z[at : at + 4]
            s, t, u, w = (ar + br, ai + bi), (ar - br, ai - bi), (cr + dr, ci + di), (cr - dr, ci - di)
            sums = [
                (s[0] + u[0], s[1] + u[1]),
                (t[0] + w[1], t[1] - w[0]),
                (s[0] - u[0], s[1] - u[1]),
                (t[0] - w[1], t[1] + w[0]),
            ]
            z[at : at + 4] = [(R(re, 2), R(im, 2)) for re, im in sums]
        h = 4
        while h < half:
            for at in range(0, half, 2 * h):
                for j in range(at, at + h):
                    (ar, ai), (br, bi) = z[j], z[j + h]
                    c, s = self.root[(j - at) * half // h]
                    re = R((ar << 31) + c * br + s * bi, 32)
                    im = R((ai << 31) + c * bi - s * br, 32)
                    z[j], z[j + h] = (re, im), (ar - re, ai - im)
            h *= 2
        return z

    def split(self, z):
        half = self.spec.points // 2
        x = [None] * half
        for k in range(1, half // 2):
            (ar, ai), (br, bi), (c, s) = z[k], z[half - k], self.root[k]
            er, ei, o_r, o_i = ar + br, ai - bi, ai + bi, br - ar
            re = R((er << 31) + c * o_r + s * o_i, 33)
            im = R((ei << 31) + c * o_i - s * o_r, 33)
            x[k], x[half - k] = (re, im), ((er >> 1) - re, im - (ei >> 1))
        x[half // 2] = tuple(part >> 1 for part in z[half // 2])
        return x

    def features(self, logs):
        bands = self.spec.bands
        if self.spec.coefficients == 0:
            return [R(log * LN_2, 35) for log in logs]
        scale = isqrt(2**63 // bands) * LN_2 >> 31

        def feature(k):
            total = 0
            for i in range(bands // 2):
                folded = logs[i] + (-1) ** k * logs[bands - 1 - i]
                total += folded * self.cosines[k * (2 * i + 1) % (4 * bands)]
            return R((total >> 32) * scale, 34)

        return [feature(k) for k in range(self.spec.coefficients)]
