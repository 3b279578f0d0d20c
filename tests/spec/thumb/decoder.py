"""Sections 6, 9 and 12: from tokens to logits."""

from .arithmetic import S, sat
from .attention import Cache, attention
from .mlp import hidden_vector
from .norm import norm
from .vector import linear, quantise


def add(a, b):
    return [sat(x + y) for x, y in zip(a, b)]


class Decoder:
    """A model and the history in its context window."""

    def __init__(self, model):
        self.model = model
        self.saturations = 0
        self.reset()

    def reset(self):
        self.history = []
        self.caches = [Cache() for _ in self.model.blocks]

    def step(self, token):
        """Feeds a token; the logits behind it."""
        model, config = self.model, self.model.config
        position = len(self.history)
        assert position < config.seq_len
        hidden = self.embedded(model.embedding, token, [0] * config.dim)
        if model.positions is not None:
            hidden = self.embedded(model.positions, position, hidden)
        row = None if model.rope is None else model.rope.values[position * config.head_dim :][: config.head_dim]
        for block, cache in zip(model.blocks, self.caches):
            hidden = self.attend(block, cache, hidden, row)
            hidden = self.think(block, hidden)
            if max(hidden) >= 2**30 or min(hidden) < -(2**30):
                self.saturations += 1
        self.history.append(token)
        vector = norm(hidden, model.final_norm, config, model.head.input)
        return linear(model.head, vector, config.frac)

    def embedded(self, matrix, row, hidden):
        shift = -(matrix.exponent + self.model.config.frac)
        scale = matrix.scales[row]
        return [sat(x + S(w * scale, shift)) for x, w in zip(hidden, matrix.weights[row])]

    def attend(self, block, cache, hidden, row):
        config = self.model.config
        vector = norm(hidden, block.attention_norm, config, block.wq.input)
        queries, keys, values = (linear(w, vector, config.frac) for w in (block.wq, block.wk, block.wv))
        out = attention(config, cache, queries, keys, values, row)
        return add(hidden, linear(block.wo, quantise(out, -config.frac, block.wo.input), config.frac))

    def think(self, block, hidden):
        config = self.model.config
        vector = norm(hidden, block.mlp_norm, config, block.w1.input)
        gate = linear(block.w1, vector, config.frac)
        up = linear(block.w3, vector, config.frac) if config.gated else None
        inner, exponent = hidden_vector(config.activation, gate, up, config.frac)
        return add(hidden, linear(block.w2, quantise(inner, exponent, block.w2.input), config.frac))

    def slide(self, keep):
        """Makes room in a full window, section 12."""
        history = self.history
        keep = min(keep, len(history))
        last = min(self.model.config.seq_len // 2, len(history) - keep)
        again = history[:keep] + history[len(history) - last :]
        if len(again) >= self.model.config.seq_len:
            raise ValueError(f"the window cannot slide: {len(again)} tokens are kept of {self.model.config.seq_len}")
        self.reset()
        for token in again:
            self.step(token)
