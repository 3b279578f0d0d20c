"""A run folder: the files that both engines read and write.

`thumbformer train --prepare` makes one, with the weights of step 0; see host-trainer/src/train/folder.rs and
host-trainer/src/checkpoint. The order of the tensors in model.safetensors is that of the flat vectors of
state.safetensors.
"""

import json
import os
import struct
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from model import Model, ModelConfig

TYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


@dataclass(frozen=True)
class Training:
    """The table `[training]`."""

    batch: int
    accumulate: int
    optimizer: str
    learning_rate: float
    schedule: str
    final_rate: float
    warmup: float
    cooldown: float
    beta1: float
    beta2: float
    momentum: float
    weight_decay: float
    clip: float
    dropout: float
    ema: float
    seed: int
    threads: int
    eval_interval: int
    eval_tokens: int
    checkpoint_seconds: float
    steps: int | None = None
    minutes: float | None = None
    patience: int | None = None

    def check(self) -> None:
        """What the twin knows by name but cannot do must not go unheeded either."""
        for name, can in (("optimizer", ("adamw",)), ("schedule", ("cosine", "linear", "wsd")), ("ema", (0.0,))):
            if (found := getattr(self, name)) not in can:
                wanted = " or ".join(map(str, can))
                raise ValueError(f"config.toml: [training]: {name}: found {found}, wanted {wanted} for the torch engine")


TABLES = ("data", "model", "training")


def table(kind: type, config: dict, name: str):
    """A table of the configuration. A setting that the twin does not know must not go unheeded."""
    values = config.get(name, {})
    if unknown := sorted(set(values) - {f.name for f in fields(kind)}):
        raise ValueError(f"config.toml: [{name}]: found {', '.join(unknown)}, which the torch engine does not know")
    return kind(**values)


@dataclass
class State:
    """All that it takes to go on; vectors are flat."""

    step: int
    seed: int
    seconds: float
    best_loss: float
    stale: int
    params: np.ndarray = field(repr=False)
    m: np.ndarray = field(repr=False)
    v: np.ndarray = field(repr=False)


class Folder:
    """The files of a run."""

    def __init__(self, path: str):
        self.path = Path(path)
        with open(self.path / "config.toml", "rb") as file:
            config = tomllib.load(file)
        if unknown := sorted(set(config) - set(TABLES)):
            raise ValueError(f"config.toml: found [{'], ['.join(unknown)}], which the torch engine does not know")
        if "pairs" in config.get("data", {}):
            raise ValueError("config.toml: [data]: found pairs, but the torch engine learns from texts only")
        self.model = table(ModelConfig, config, "model")
        self.training = table(Training, config, "training")
        self.training.check()
        self.train_tokens = token_file(self.path / "tokens" / "train.u16")
        self.valid_tokens = np.fromfile(self.path / "valid.u16", dtype="<u2")
        self.tensors, self.metadata = read(self.path / "model.safetensors")
        # Each save says its own number of steps.
        self.provenance = self.metadata.get("provenance", "").rsplit(", ", 2)[0]

    def parameters(self, model: Model) -> list[torch.nn.Parameter]:
        """The parameters of a model in the order of the flat vectors."""
        named = dict(model.named_parameters())
        stored = {name: tensor.shape for name, tensor in self.tensors.items() if name != "tokenizer"}
        for name in sorted(stored.keys() | named.keys()):
            found = tuple(named[name].shape) if name in named else "none"
            if found != (wanted := stored.get(name, "none")):
                raise ValueError(f"tensor {name}: found {found} in the twin, wanted {wanted} as in model.safetensors")
        return [named[name] for name in stored]

    def state(self) -> State:
        """The newest state."""
        tensors, metadata = read(self.path / "state.safetensors")
        if (found := metadata.get("optimizer", "adamw")) != "adamw":
            raise ValueError(f"state.safetensors: optimizer: found {found}, wanted adamw for the torch engine")
        return State(
            step=int(metadata["step"]),
            seed=int(metadata["seed"]),
            seconds=float(metadata["seconds"]),
            best_loss=float(metadata["best_loss"]),
            stale=int(metadata.get("stale", 0)),
            params=tensors["params"],
            m=tensors["optimizer.m"],
            v=tensors["optimizer.v"],
        )

    def save(self, state: State) -> None:
        """Writes the state, then the model."""
        names = ("step", "seed", "seconds", "best_loss", "stale")
        metadata = {name: str(getattr(state, name)) for name in names} | {"optimizer": "adamw"}
        vectors = {"params": state.params, "optimizer.m": state.m, "optimizer.v": state.v}
        write(self.path / "state.safetensors", vectors, metadata)
        self.save_model("model.safetensors", state.params, state.step, state.seed)

    def save_best(self, params: np.ndarray, step: int, seed: int) -> None:
        """Writes the model with the lowest validation loss."""
        self.save_model("best.safetensors", params, step, seed)

    def save_model(self, file: str, params: np.ndarray, step: int, seed: int) -> None:
        at = 0
        for name, tensor in self.tensors.items():
            if name != "tokenizer":
                self.tensors[name] = params[at : at + tensor.size].reshape(tensor.shape)
                at += tensor.size
        provenance = f"{self.provenance}, {step} steps, seed {seed}"
        write(self.path / file, self.tensors, self.metadata | {"provenance": provenance})

    def forget_after(self, step: int) -> None:
        """Drops the metrics of steps that are going to be done again."""
        path = self.path / "metrics.jsonl"
        kept = b""
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            try:
                done = json.loads(line)["step"] <= step
            except (ValueError, KeyError):
                done = False
            kept += line if done else b""
        write_atomically(path, [kept])

    def record(self, **line) -> None:
        """Adds a line to the metrics."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")


def token_file(path: Path) -> np.ndarray:
    """The stream of tokens of a file, mapped; see host-trainer/src/data/token_file.rs."""
    with open(path, "rb") as file:
        magic, version, _, count = struct.unpack("<8sIIQ8x", file.read(32))
    if magic != b"THMBTOKS" or version != 1:
        raise ValueError(f"{path}: found {magic!r}, version {version}, wanted b'THMBTOKS', version 1")
    return np.memmap(path, dtype="<u2", mode="r", offset=32, shape=(count,))


def flatten(tensors: list[torch.Tensor]) -> np.ndarray:
    """One flat vector of all tensors."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).cpu().numpy()


def unflatten(vector: np.ndarray, tensors: list[torch.Tensor]) -> None:
    """Copies the parts of a flat vector to tensors."""
    if (wanted := sum(tensor.numel() for tensor in tensors)) != len(vector):
        raise ValueError(f"state.safetensors: found {len(vector)} parameters, wanted {wanted}")
    at = 0
    with torch.no_grad():
        for tensor in tensors:
            part = vector[at : at + tensor.numel()]
            tensor.copy_(torch.from_numpy(part.copy()).view_as(tensor))
            at += tensor.numel()


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a safetensors file, in their order in it, and its metadata."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, info in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if info["dtype"] not in TYPES:
            raise ValueError(f"{path}: tensor {name}: found {info['dtype']}, wanted {' or '.join(TYPES)}")
        start, end = (8 + length + offset for offset in info["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], TYPES[info["dtype"]]).reshape(info["shape"])
    return tensors, metadata


def write(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a safetensors file. The safetensors package would sort the tensors by name, which the order of the flat
    vectors forbids."""
    header, parts, at = {"__metadata__": metadata}, [], 0
    names = {kind: name for name, kind in TYPES.items()}
    for name, tensor in tensors.items():
        part = np.ascontiguousarray(tensor).tobytes()
        offsets = [at, at := at + len(part)]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, [struct.pack("<Q", len(text)), text, *parts])


def write_atomically(path: Path, parts: list[bytes]) -> None:
    """Replaces a file by new contents; whoever reads it finds the old or the new, never a part."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
