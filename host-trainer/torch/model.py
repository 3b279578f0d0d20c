"""The decoder, the twin of host-trainer/src/model: the same switches, names and shapes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


@dataclass(frozen=True)
class ModelConfig:
    """The table `[model]` of a run's configuration."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    norm: str = "rms"
    activation: str = "silu"
    gated: bool = True
    positions: str = "rope"
    tied: bool = True
    biases: bool = False
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0

    def __post_init__(self) -> None:
        for name, wanted in [
            ("norm", ("rms", "layer")),
            ("activation", tuple(ACTIVATIONS)),
            ("positions", ("rope", "learned")),
        ]:
            found = getattr(self, name)
            if found not in wanted:
                raise ValueError(f"{name}: found {found}, wanted one of {', '.join(wanted)}")

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads


def norm(c: ModelConfig) -> nn.Module:
    kind = nn.RMSNorm if c.norm == "rms" else nn.LayerNorm
    return kind(c.dim, eps=c.norm_eps)


def rope_table(c: ModelConfig) -> Tensor:
    """Cosine and sine `[seq_len, 1, head_dim / 2, 2]`: pair i at position t turns by t * theta^(-2i / head_dim)."""
    pair = torch.arange(c.head_dim // 2, dtype=torch.float64)
    turn = c.rope_theta ** (-2.0 * pair / c.head_dim)
    angle = torch.outer(torch.arange(c.seq_len, dtype=torch.float64), turn)
    return torch.stack((angle.cos(), angle.sin()), -1).float().unsqueeze(1)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turns adjacent pairs of `x` `[batch, t, heads, head_dim]`, as complex numbers: the fastest way on a CPU."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.view_as_complex(rope[: x.shape[1]])).flatten(-2)


class Attention(nn.Module):
    """Causal self-attention with grouped key and value heads."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        kv_dim = c.n_kv_heads * c.head_dim
        self.wq = nn.Linear(c.dim, c.dim, bias=c.biases)
        self.wk = nn.Linear(c.dim, kv_dim, bias=c.biases)
        self.wv = nn.Linear(c.dim, kv_dim, bias=c.biases)
        self.wo = nn.Linear(c.dim, c.dim, bias=c.biases)

    def forward(self, x: Tensor, rope: Tensor | None) -> Tensor:
        q, k, v = (w(x).unflatten(-1, (-1, self.c.head_dim)) for w in (self.wq, self.wk, self.wv))
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))
        grouped = self.c.n_kv_heads < self.c.n_heads
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return self.wo(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The MLP, plain or gated."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.activation = ACTIVATIONS[c.activation]
        self.w1 = nn.Linear(c.dim, c.hidden_dim, bias=c.biases)
        self.w3 = nn.Linear(c.dim, c.hidden_dim, bias=c.biases) if c.gated else None
        self.w2 = nn.Linear(c.hidden_dim, c.dim, bias=c.biases)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.w1(x))
        return self.w2(hidden if self.w3 is None else hidden * self.w3(x))


class Block(nn.Module):
    """Attention, then the MLP, each behind a norm and added to the stream."""

    def __init__(self, c: ModelConfig, dropout: float):
        super().__init__()
        self.attention_norm = norm(c)
        self.attention = Attention(c)
        self.ffn_norm = norm(c)
        self.feed_forward = FeedForward(c)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rope: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), rope))
        return x + self.dropout(self.feed_forward(self.ffn_norm(x)))


class Model(nn.Module):
    """The decoder."""

    def __init__(self, c: ModelConfig, dropout: float = 0.0):
        super().__init__()
        self.c = c
        self.tok_embeddings = nn.Embedding(c.vocab_size, c.dim)
        self.pos_embeddings = nn.Embedding(c.seq_len, c.dim) if c.positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(c, dropout) for _ in range(c.n_layers))
        self.norm = norm(c)
        self.output = None if c.tied else nn.Linear(c.dim, c.vocab_size, bias=False)
        self.register_buffer("rope", rope_table(c) if c.positions == "rope" else None, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `[batch, t]` to logits `[batch, t, vocab_size]`."""
        x = self.tok_embeddings(tokens)
        if self.pos_embeddings is not None:
            x = x + self.pos_embeddings.weight[: tokens.shape[1]]
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, self.rope)
        head = self.tok_embeddings if self.output is None else self.output
        return F.linear(self.norm(x), head.weight)


def loss_sum(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The sum over all positions of -ln p(target)."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum")
