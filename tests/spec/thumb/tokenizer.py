"""docs/format.md: the tokenizer section, from text to tokens and back."""

from struct import unpack_from

from .refused import refuse_unless

UNKNOWN, BEGIN, END, BYTES, PIECES = 0, 1, 2, 3, 259
LLAMA_BPE, BYTE_BPE, CHARACTERS = range(3)


class Tokenizer:
    def __init__(self, section, vocab_size):
        refuse_unless(len(section) >= 8, "BadTokenizer")
        self.kind, zero, tokens = unpack_from("<BBH", section)
        refuse_unless(self.kind in (LLAMA_BPE, BYTE_BPE, CHARACTERS), "UnknownTokenizer")
        self.first = BYTES if self.kind == CHARACTERS else PIECES
        refuse_unless(zero == 0, "BadTokenizer")
        refuse_unless(self.first <= tokens <= vocab_size, "BadTokenizer")
        n = tokens - self.first
        pool = section[8 + 8 * n :]
        refuse_unless(len(section) >= 8 + 8 * n, "BadTokenizer")
        ends = unpack_from(f"<{n + 1}I", section, 4)
        refuse_unless(ends[0] == 0 and ends[n] == len(pool), "BadTokenizer")
        refuse_unless(all(a <= b for a, b in zip(ends, ends[1:])), "BadTokenizer")
        self.pieces = [pool[a:b] for a, b in zip(ends, ends[1:])]
        self.ranks = unpack_from(f"<{n}H", section, 8 + 4 * n)
        by_bytes = unpack_from(f"<{n}H", section, 8 + 6 * n)
        refuse_unless(list(by_bytes) == sorted(range(n), key=lambda i: (self.pieces[i], i)), "BadTokenizer")
        # Of pieces of the same bytes, the lowest number.
        self.ids = {piece: self.first + i for i, piece in reversed(list(enumerate(self.pieces)))}

    def encode(self, text):
        """The tokens of bytes that begin a sequence."""
        tokens = self.start(text)
        while True:
            merges = [(rank, i) for i in range(len(tokens) - 1) if (rank := self.merge(tokens[i : i + 2])) is not None]
            if not merges:
                return [BEGIN] + tokens
            _, i = min(merges)
            tokens[i : i + 2] = [self.ids[self.bytes(tokens[i]) + self.bytes(tokens[i + 1])]]

    def start(self, text):
        if self.kind == BYTE_BPE:
            return [BYTES + b for b in text]
        tokens, rest = [], b" " + text if text and self.kind == LLAMA_BPE else text
        while rest:
            end = 1
            while end < min(4, len(rest)) and 0x80 <= rest[end] <= 0xBF:
                end += 1
            character, rest = rest[:end], rest[end:]
            piece = self.ids.get(character)
            if piece is not None:
                tokens.append(piece)
            elif self.kind == CHARACTERS:
                tokens.append(UNKNOWN)
            else:
                tokens.extend(BYTES + b for b in character)
        return tokens

    def merge(self, pair):
        """The rank of what two neighbours make, if they make something."""
        if self.kind == CHARACTERS:
            return None
        first = PIECES if self.kind == LLAMA_BPE else BYTES
        if min(pair) < first:
            return None
        piece = self.ids.get(self.bytes(pair[0]) + self.bytes(pair[1]))
        return None if piece is None else self.ranks[piece - self.first]

    def bytes(self, token):
        if token < BYTES:
            return b""
        if token < self.first:
            return bytes([token - BYTES])
        # Tokens beyond the section have no text.
        return self.pieces[token - self.first] if token - self.first < len(self.pieces) else b""

    def decode(self, tokens):
        out, before = b"", None
        for token in tokens:
            piece = self.bytes(token)
            if self.kind == LLAMA_BPE and before == BEGIN and piece.startswith(b" "):
                piece = piece[1:]
            out += piece
            before = token
        return out
