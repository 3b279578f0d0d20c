#!/usr/bin/env python3
"""What `thumbformer run MODEL --json` prints, from the second implementation."""

import argparse
import json
from pathlib import Path

from thumb.decoder import Decoder
from thumb.digest import Digest
from thumb.reader import Model
from thumb.sampler import Sampler
from thumb.tokenizer import BEGIN, END


def generate(model, prompt, sampler, most):
    """Tokens of the prompt, tokens behind it, and the digest of the logits that these were chosen by."""
    decoder, digest, tokens = Decoder(model), Digest(), []
    fed = model.tokenizer.encode(prompt)
    for token in fed:
        logits = decoder.step(token)
    while True:
        digest.add(logits)
        token = sampler.sample(logits, model.config.frac, decoder.history)
        if token in (BEGIN, END):
            break
        tokens.append(token)
        if len(tokens) == most or len(decoder.history) == model.config.seq_len:
            break
        logits = decoder.step(token)
    return fed, tokens, digest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompt", default="")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--min-p", type=float, default=0.0)
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    model = Model(args.model.read_bytes())
    sampler = Sampler(args.seed, args.temperature, args.top_k, args.top_p, args.min_p, args.repetition_penalty)
    prompt, tokens, digest = generate(model, args.prompt.encode(), sampler, args.max_tokens)
    text = model.tokenizer.decode(prompt + tokens).decode(errors="replace")
    print(json.dumps({"prompt": prompt, "tokens": tokens, "text": text, "digest": str(digest)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
