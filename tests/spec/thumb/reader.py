"""docs/format.md: what is in a file, and what is refused."""

from struct import unpack_from
from types import SimpleNamespace
from zlib import crc32

from .refused import refuse_unless
from .tensors import FOLDED, INT4, INT8, INT16, Tensor
from .tokenizer import Tokenizer


# Kinds of tensors, by their numbers.
(EMBEDDING, ROPE_TABLE, POSITION_EMBEDDING, ATTENTION_NORM, WQ, WK, WV, WO, MLP_NORM, W1, W2, W3, FINAL_NORM, HEAD) = range(14)
NORMS = (ATTENTION_NORM, MLP_NORM, FINAL_NORM)
MATRICES = (WQ, WK, WV, WO, W1, W2, W3, HEAD)
# Those that read the vector of another.
SHARED = {WK: WQ, WV: WQ, W3: W1}

LIMITS = {
    "dim": 16384,
    "hidden_dim": 16384,
    "n_layers": 255,
    "n_heads": 16384,
    "n_kv_heads": 16384,
    "vocab_size": 65535,
    "seq_len": 32768,
}

# A feature bit, and what begins a line of the metadata.
CLASSIFIER = 1
LABEL = "label = "


def configuration(data):
    c = SimpleNamespace()
    for name, value in zip(LIMITS, unpack_from("<7I", data, 20)):
        refuse_unless(1 <= value <= LIMITS[name], "BadConfig")
        setattr(c, name, value)
    c.norm, c.activation, c.gated, c.positions, c.tied, c.biases, c.frac = data[48:55]
    for value, most in ((c.norm, 2), (c.activation, 4), (c.gated, 1), (c.positions, 1), (c.tied, 1), (c.biases, 1)):
        refuse_unless(value <= most, "BadConfig")
    refuse_unless(4 <= c.frac <= 24, "BadConfig")
    refuse_unless(c.n_heads <= c.dim and c.dim % c.n_heads == 0, "BadConfig")
    refuse_unless(c.n_kv_heads <= c.n_heads and c.n_heads % c.n_kv_heads == 0, "BadConfig")
    c.head_dim = c.dim // c.n_heads
    c.kv_dim = c.n_kv_heads * c.head_dim
    refuse_unless(c.head_dim <= 256, "BadConfig")
    refuse_unless(c.positions == 1 or c.head_dim % 2 == 0, "BadConfig")
    cache = 2 * c.n_layers * c.n_kv_heads * c.seq_len * (c.head_dim + 1)
    refuse_unless(cache <= 1073741824, "BadConfig")
    c.epsilon_mantissa, c.epsilon_exponent = unpack_from("<Ii", data, 56)
    refuse_unless(c.epsilon_mantissa < 2**24 and -200 <= c.epsilon_exponent <= 0, "BadConfig")
    (features,), (c.n_classes,) = unpack_from("<I", data, 8), unpack_from("<I", data, 88)
    refuse_unless(c.n_classes <= 65535 and (c.n_classes > 0) == (features & CLASSIFIER != 0), "BadConfig")
    refuse_unless(not (c.n_classes and c.tied), "BadConfig")
    return c


def labels(metadata):
    """The names of classes."""
    try:
        lines = metadata.decode().split("\n")
    except UnicodeDecodeError:
        return []
    return [line[len(LABEL) :] for line in lines if line.startswith(LABEL)]


def order(c):
    """Kinds and blocks of the tensors."""
    yield EMBEDDING, 0
    yield (POSITION_EMBEDDING if c.positions else ROPE_TABLE), 0
    for layer in range(c.n_layers):
        for kind in (ATTENTION_NORM, WQ, WK, WV, WO, MLP_NORM, W1, W2):
            yield kind, layer
        if c.gated:
            yield W3, layer
    yield FINAL_NORM, 0
    yield HEAD, 0


def shape(c, kind):
    return {
        EMBEDDING: (c.vocab_size, c.dim),
        ROPE_TABLE: (c.seq_len, c.head_dim),
        POSITION_EMBEDDING: (c.seq_len, c.dim),
        WK: (c.kv_dim, c.dim),
        WV: (c.kv_dim, c.dim),
        W1: (c.hidden_dim, c.dim),
        W2: (c.dim, c.hidden_dim),
        W3: (c.hidden_dim, c.dim),
        HEAD: (c.n_classes or c.vocab_size, c.dim),
    }.get(kind, (1, c.dim) if kind in NORMS else (c.dim, c.dim))


def check_tensor(c, t, kind, layer, size):
    """An entry at the place of this kind and block, in a file of `size` bytes."""
    refuse_unless((t.kind, t.layer) == (kind, layer), "BadTensor")
    refuse_unless((t.rows, t.cols) == shape(c, kind), "BadTensor")
    if kind in NORMS:
        types = (FOLDED, INT16)
    elif kind == ROPE_TABLE:
        types = (INT16,)
    else:
        types = (INT8, INT4)
    refuse_unless(t.dtype in types, "BadTensor")
    layouts = {INT8: (0, 1, 2), INT4: (3,)}.get(t.dtype, (0,))
    refuse_unless(t.layout in layouts, "BadTensor")
    refuse_unless(t.input in (8, 16), "BadTensor")
    refuse_unless(t.bias_offset == 0 or kind in MATRICES, "BadTensor")
    for offset, length in t.parts():
        refuse_unless(offset != 0 and offset % 4 == 0 and offset + length <= size, "BadTensor")


class Model:
    """A file that no check refused."""

    def __init__(self, data, whole=True):
        """`whole` verifies the checksum and the row scales, too."""
        refuse_unless(len(data) >= 96, "Truncated")
        refuse_unless(data[:4] == b"THMB", "BadMagic")
        version, numerics, features, file_len, checksum = unpack_from("<HHIII", data, 4)
        refuse_unless(version == 2, "UnsupportedVersion")
        refuse_unless(numerics == 2, "UnsupportedNumerics")
        refuse_unless(features & ~CLASSIFIER == 0, "UnsupportedFeatures")
        refuse_unless(len(data) >= file_len, "Truncated")
        refuse_unless(len(data) == file_len, "TrailingBytes")
        self.config = c = configuration(data)

        n_tensors, directory, tokenizer, tokenizer_len, metadata, metadata_len = unpack_from("<6I", data, 64)
        expected = list(order(c))
        refuse_unless(n_tensors == len(expected), "BadConfig")
        refuse_unless(directory % 4 == 0 and directory + 32 * n_tensors <= file_len, "BadTensor")
        self.tensors = {}
        for i, (kind, layer) in enumerate(expected):
            tensor = Tensor(data, directory + 32 * i)
            check_tensor(c, tensor, kind, layer, file_len)
            if kind in SHARED:
                first = self.tensors[SHARED[kind], layer]
                refuse_unless((tensor.input, tensor.layout) == (first.input, first.layout), "BadTensor")
            self.tensors[kind, layer] = tensor

        refuse_unless(tokenizer % 4 == 0 and tokenizer + tokenizer_len <= file_len, "BadTokenizer")
        self.tokenizer = Tokenizer(data[tokenizer : tokenizer + tokenizer_len], c.vocab_size)
        refuse_unless(metadata + metadata_len <= file_len, "Truncated")
        refuse_unless(metadata % 4 == 0, "Misaligned")
        self.metadata = data[metadata : metadata + metadata_len]
        refuse_unless(len(labels(self.metadata)) >= c.n_classes, "BadConfig")
        if whole:
            refuse_unless(crc32(data[20:]) == checksum, "BadChecksum")
            for tensor in self.tensors.values():
                refuse_unless(min(tensor.scales or [1]) > 0, "BadScale")
        self.name_tensors()

    def name_tensors(self):
        get = self.tensors.get
        self.embedding = get((EMBEDDING, 0))
        self.rope = get((ROPE_TABLE, 0))
        self.positions = get((POSITION_EMBEDDING, 0))
        self.final_norm = get((FINAL_NORM, 0))
        self.head = get((HEAD, 0))
        self.blocks = [
            SimpleNamespace(
                attention_norm=get((ATTENTION_NORM, i)),
                wq=get((WQ, i)),
                wk=get((WK, i)),
                wv=get((WV, i)),
                wo=get((WO, i)),
                mlp_norm=get((MLP_NORM, i)),
                w1=get((W1, i)),
                w2=get((W2, i)),
                w3=get((W3, i)),
            )
            for i in range(self.config.n_layers)
        ]
