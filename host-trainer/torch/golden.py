"""Writes tests/golden/operations.safetensors: what PyTorch makes of small inputs, in float64.

    python host-trainer/torch/golden.py

For each operation: its inputs and parameters (`name/param/x`), its output, the weights of the sum
of the output that is differentiated, and the gradients (`name/grad/x`). The tests of `nn::golden`
run the operations of the engine on the same numbers.
"""

import json
import math
import struct
from pathlib import Path

import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)

TOKENS = [3, 1, 3, 0, 6, 5]
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 2
DIM, KV_DIM = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
BLOCK = 32
KEY = 9
out = {}


def case(name, forward, loss=None, **params):
    """Runs `forward` on leaves of the given values; a `loss` takes the place of the weighted sum."""
    leaves = {key: value.clone().requires_grad_() for key, value in params.items()}
    y = forward(**leaves)
    if loss is None:
        weights = torch.randn_like(y)
        total = (y * weights).sum()
        out[f"{name}/output"], out[f"{name}/weights"] = y, weights
    else:
        total = y
        out[f"{name}/loss"] = y.reshape(1)
    total.backward()
    for key, leaf in leaves.items():
        out[f"{name}/param/{key}"], out[f"{name}/grad/{key}"] = leaf, leaf.grad


class SplitMix:
    """The generator of nn::random, for the masks of dropout."""

    MASK = (1 << 64) - 1

    def __init__(self, key):
        self.state = 0
        for part in key:
            self.state ^= part * 0xD1B54A32D192ED03 & self.MASK
            self.state = self.next()

    def next(self):
        self.state = self.state + 0x9E3779B97F4A7C15 & self.MASK
        z = (self.state ^ self.state >> 30) * 0xBF58476D1CE4E5B9 & self.MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & self.MASK
        return z ^ z >> 31

    def mask(self, rate, shape):
        """`rate` is that of the engine, a float32."""
        keep = [(self.next() >> 40) / (1 << 24) >= rate for _ in range(math.prod(shape))]
        return torch.tensor(keep).reshape(shape).double() / (1 - rate)


RATE = struct.unpack("f", struct.pack("f", 0.3))[0]


def rope(x, heads, tokens):
    """Adjacent pairs of the first `heads` heads of rows `[sequences * tokens, stride]`."""
    rows = x.shape[0]
    position = torch.arange(rows) % tokens
    frequency = 10000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    turn = torch.polar(torch.ones(rows, HEAD_DIM // 2), position[:, None] * frequency)
    width = heads * HEAD_DIM
    pairs = torch.view_as_complex(x[:, :width].reshape(rows, heads, -1, 2))
    turned = torch.view_as_real(pairs * turn[:, None]).reshape(rows, width)
    return torch.cat([turned, x[:, width:]], 1)


def split(x, sequences, heads):
    return x.reshape(sequences, -1, heads, HEAD_DIM).transpose(1, 2)


def attend(q, k, v, sequences, causal):
    q, k, v = split(q, sequences, HEADS), split(k, sequences, KV_HEADS), split(v, sequences, KV_HEADS)
    k, v = (part.repeat_interleave(HEADS // KV_HEADS, 1) for part in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return y.transpose(1, 2).reshape(-1, DIM)


def within(qkv, sequences, causal):
    return attend(qkv[:, :DIM], qkv[:, DIM : DIM + KV_DIM], qkv[:, DIM + KV_DIM :], sequences, causal)


def within_dropped(qkv, sequences):
    """Causal, each weight dropped by the mask that the engine draws for its block of rows."""
    q = split(qkv[:, :DIM], sequences, HEADS)
    k = split(qkv[:, DIM : DIM + KV_DIM], sequences, KV_HEADS).repeat_interleave(2, 1)
    v = split(qkv[:, DIM + KV_DIM :], sequences, KV_HEADS).repeat_interleave(2, 1)
    tokens = q.shape[2]
    scores = q @ k.transpose(2, 3) / math.sqrt(HEAD_DIM)
    scores = scores.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), -math.inf)
    mask = torch.ones(sequences, HEADS, tokens, tokens)
    for i in range(sequences * HEADS):
        for first in range(0, tokens, BLOCK):
            end = min(first + BLOCK, tokens)
            part = SplitMix([KEY, 0, i * tokens + first]).mask(RATE, (end - first, end))
            mask[i // HEADS, i % HEADS, first:end, :end] = part
    y = (scores.softmax(3) * mask) @ v
    return y.transpose(1, 2).reshape(-1, DIM)


def sinusoids(tokens, width):
    column = torch.arange(width)
    angle = torch.arange(tokens)[:, None] / 10000.0 ** ((column // 2 * 2) / width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


r = torch.randn
ids = torch.tensor(TOKENS)
targets = torch.tensor([(t + 2) % 7 for t in TOKENS])

case("linear", lambda x, weight, bias: F.linear(x, weight, bias), x=r(6, 5), weight=r(4, 5), bias=r(4))
case("embedding", lambda table: F.embedding(ids, table), table=r(7, 4))
case("rms_norm", lambda x, weight: F.rms_norm(x, (11,), weight, 1e-5), x=r(6, 11), weight=r(11))
case("layer_norm", lambda x, weight, bias: F.layer_norm(x, (11,), weight, bias, 1e-5), x=r(6, 11), weight=r(11), bias=r(11))

mean, var = r(5), r(5).abs()
out["batch_norm/before/running_mean"], out["batch_norm/before/running_var"] = mean.clone(), var.clone()
case("batch_norm", lambda x, weight, bias: F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5), x=r(6, 5), weight=r(5), bias=r(5))
out["batch_norm/after/running_mean"], out["batch_norm/after/running_var"] = mean, var
x, weight, bias = (out[f"batch_norm/param/{key}"] for key in ("x", "weight", "bias"))
out["batch_norm/frozen"] = F.batch_norm(x, mean, var, weight, bias, False, 0.1, 1e-5)

case("dropout", lambda x: x * SplitMix([KEY, 0]).mask(RATE, (6, 5)), x=r(6, 5))
case("rope", lambda x: rope(x, HEADS + KV_HEADS, 3), x=r(6, DIM + 2 * KV_DIM))
case("learned_positions", lambda x, table: x + table[:3].repeat(2, 1), x=r(6, 5), table=r(4, 5))
case("sinusoidal_positions", lambda x: x + sinusoids(3, 5).repeat(2, 1), x=r(6, 5))
case("causal_attention", lambda qkv: within(qkv, 1, True), qkv=r(BLOCK + 3, DIM + 2 * KV_DIM))
case("bidirectional_attention", lambda qkv: within(qkv, 2, False), qkv=r(6, DIM + 2 * KV_DIM))
case("attention_with_dropout", lambda qkv: within_dropped(qkv, 2), qkv=r(6, DIM + 2 * KV_DIM))
case("cross_attention", lambda q, kv: attend(q, kv[:, :KV_DIM], kv[:, KV_DIM:], 2, False), q=r(6, DIM), kv=r(10, 2 * KV_DIM))
case("swiglu", lambda x: F.silu(x[:, :5]) * x[:, 5:], x=r(6, 10))
case("silu", lambda x: F.silu(x), x=r(6, 5))
case("gelu", lambda x: F.gelu(x), x=r(6, 5))
case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), x=r(6, 5))
case("relu", lambda x: F.relu(x), x=r(6, 5))
case("squared_relu", lambda x: F.relu(x).square(), x=r(6, 5))
case("mean", lambda x: x.reshape(2, 3, 5).mean(1), x=r(6, 5))
case("class_token", lambda x, token: torch.cat([token.expand(2, 1, 5), x.reshape(2, 3, 5)], 1).reshape(8, 5), x=r(6, 5), token=r(5))
case("first", lambda x: x.reshape(2, 3, 5)[:, 0], x=r(6, 5))
case("cross_entropy", lambda x: F.cross_entropy(x, targets, reduction="sum"), loss=True, x=r(6, 7))
padded = targets.clone()
padded[4] = 65535
case("smoothed_cross_entropy", lambda x: F.cross_entropy(x, padded, reduction="sum", label_smoothing=0.1, ignore_index=65535), loss=True, x=r(6, 7))
# Nothing near the middle between two integers: the runtime rounds to 14 bits before it rounds to 8.
integers = torch.randint(-126, 127, (6, 16)) + 0.45 * (2 * torch.rand(6, 16) - 1)
integers[:, 3] = 127
case(
    "fake_quantize",
    lambda x: torch.stack([torch.fake_quantize_per_tensor_affine(row, row.max().item() / 127, 0, -127, 127) for row in x]),
    x=integers * r(6, 1).abs(),
)

header, data = {}, b""
for name, tensor in out.items():
    values = tensor.detach().contiguous().flatten().tolist()
    start = len(data)
    data += struct.pack(f"<{len(values)}d", *values)
    header[name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": [start, len(data)]}
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
path = Path(__file__).parent.parent / "tests/golden/operations.safetensors"
path.write_bytes(struct.pack("<Q", len(text)) + text + data)
print(f"{path}: {len(header)} tensors, {path.stat().st_size} bytes")
