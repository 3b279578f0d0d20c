"""Trains the network of a run folder: `python train.py DIR`, or `torchrun --nproc-per-node N train.py DIR`.

The loop is that of host-trainer/src/train. Whatever engine did a step, the other one can do the next.
Ctrl-C or termination finishes the step, saves, and leaves.
"""

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time

import numpy as np
import torch
import torch.distributed as dist
from checkpoint import Folder, State, Training, flatten, unflatten
from data import DROPOUT_STREAM, Random, batch, chunks, rows
from model import Model, loss_sum
from torch.nn.parallel import DistributedDataParallel

SECONDS_BETWEEN_LINES = 10.0


class World:
    """The processes of a run; one, where torchrun did not start it."""

    def __init__(self, threads: int):
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        local, local_size = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        on_gpu = torch.cuda.is_available() and local_size <= torch.cuda.device_count()
        self.device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(self.device)
        torch.set_num_threads(max(1, (threads or os.cpu_count() or 1) // local_size))
        if self.size > 1:
            dist.init_process_group("nccl" if on_gpu else "gloo")

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def share(self, items: list) -> list:
        """This process's share of a list."""
        return items[self.rank :: self.size]


class StopSignal:
    """Whether someone asked to stop: by a signal, or by closing standard input where the parent said it would."""

    def __init__(self):
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.ask())
        if "THUMBFORMER_STOP_BY_STDIN" in os.environ:
            threading.Thread(target=self.wait_for_end_of_stdin, daemon=True).start()

    def ask(self) -> None:
        self.asked = True

    def wait_for_end_of_stdin(self) -> None:
        # Not sys.stdin, whose lock would be held when the interpreter ends.
        while os.read(0, 4096):
            pass
        self.ask()


def rate(training: Training, fraction: float) -> float:
    """The learning rate at a fraction of the budget: a linear warm-up, then down, as host-trainer/src/schedule.rs."""
    if fraction < training.warmup:
        return training.learning_rate * fraction / training.warmup
    fall = training.cooldown if training.schedule == "wsd" else 1.0 - training.warmup
    fallen = max(0.0, (fraction - (1.0 - fall)) / max(fall, 1e-38))
    left = 0.5 * (1.0 + math.cos(math.pi * fallen)) if training.schedule == "cosine" else 1.0 - fallen
    last = training.learning_rate * training.final_rate
    return last + left * (training.learning_rate - last)


class Run:
    """A run and its surroundings."""

    def __init__(self, path: str):
        self.folder = Folder(path)
        self.training = t = self.folder.training
        self.seq_len = self.folder.model.seq_len
        self.world = World(t.threads)
        if t.batch < self.world.size:
            raise ValueError(f"batch: found {t.batch}, wanted at least {self.world.size}, one for each process")
        self.model = Model(self.folder.model, t.dropout)
        self.parameters = self.folder.parameters(self.model)
        self.model.to(self.world.device)
        self.parallel = self.model if self.world.size == 1 else DistributedDataParallel(self.model)
        # Gains, biases and learned positions do not decay.
        names = [name for name in self.folder.tensors if name != "tokenizer"]
        pairs = list(zip(names, self.parameters, strict=True))
        decays = [p.dim() > 1 and not name.startswith("pos_embeddings.") for name, p in pairs]
        groups = [
            {"params": [p for p, d in zip(self.parameters, decays) if d], "weight_decay": t.weight_decay},
            {"params": [p for p, d in zip(self.parameters, decays) if not d], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=t.learning_rate, betas=(t.beta1, t.beta2), eps=1e-8)
        self.restore(self.folder.state())
        if self.world.rank == 0:
            self.folder.forget_after(self.step)
        self.stop = StopSignal()
        self.stopped = False

    def restore(self, state: State) -> None:
        if state.seed != self.training.seed:
            raise ValueError(f"seed: found {state.seed} in the state, wanted {self.training.seed} as in config.toml")
        self.step, self.seconds_before = state.step, state.seconds
        self.best_loss, self.stale = state.best_loss, state.stale
        self.started = time.monotonic()
        self.agreed_seconds = self.seconds()
        unflatten(state.params, self.parameters)
        for p in self.parameters:
            moments = (torch.zeros_like(p), torch.zeros_like(p))
            step = torch.tensor(float(state.step))
            self.optimizer.state[p] = {"step": step, "exp_avg": moments[0], "exp_avg_sq": moments[1]}
        unflatten(state.m, self.moments("exp_avg"))
        unflatten(state.v, self.moments("exp_avg_sq"))

    def moments(self, name: str) -> list[torch.Tensor]:
        return [self.optimizer.state[p][name] for p in self.parameters]

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def fraction(self, step: int) -> float:
        """The fraction of the budget that is used, on which the processes agree."""
        if self.training.steps is not None:
            return min(1.0, step / self.training.steps)
        return min(1.0, self.agreed_seconds / (60.0 * self.training.minutes))

    def rows(self, tokens: np.ndarray, starts: list[int]) -> list[torch.Tensor]:
        """Inputs and targets of the sequences that start there."""
        return [x.to(self.world.device) for x in rows(tokens, starts, self.seq_len)]

    def advance(self) -> dict:
        """Draws a batch and takes one step along its gradient."""
        t, world = self.training, self.world
        if t.dropout > 0.0:
            torch.manual_seed(Random(t.seed, DROPOUT_STREAM, self.step, world.rank).next_u64() >> 1)
        size = t.batch * t.accumulate
        starts = world.share(batch(self.folder.train_tokens, t.seed, self.step, size, self.seq_len))
        self.optimizer.zero_grad()
        # A batch at a time; gradients meet after the last.
        share = math.ceil(len(starts) / t.accumulate)
        parts = [starts[at : at + share] for at in range(0, len(starts), share)]
        summed = 0.0
        for i, part in enumerate(parts):
            alone = i + 1 < len(parts) and world.size > 1
            with self.parallel.no_sync() if alone else contextlib.nullcontext():
                loss = loss_sum(self.parallel, *self.rows(self.folder.train_tokens, part))
                # The processes' gradients are averaged; the loss is the mean over all batches.
                (loss * (world.size / (size * self.seq_len))).backward()
            summed += loss.item()
        total, seconds, asked = world.sum(summed, self.seconds() / world.size, float(self.stop.asked))
        self.agreed_seconds, self.stopped = seconds, asked > 0.0
        mean = total / (size * self.seq_len)
        if not math.isfinite(mean):
            advice = "a lower learning_rate may help"
            raise ValueError(f"step {self.step}: found a loss of {mean}, wanted a number; {advice}")
        gradients = [p.grad for p in self.parameters]
        norm = torch.nn.utils.get_total_norm(gradients).item()
        if norm > t.clip:
            torch._foreach_mul_(gradients, t.clip / norm)
        # A budget of steps counts this one, so that the first is not lost to a rate of zero.
        learning_rate = rate(t, self.fraction(self.step + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.step += 1
        return {"step": self.step, "loss": mean, "learning_rate": learning_rate, "grad_norm": norm}

    @torch.no_grad()
    def evaluate(self, limit: int | None) -> float | None:
        """The loss on held-out tokens, as many contexts as fit `limit` but at least one."""
        starts = chunks(self.folder.valid_tokens, self.seq_len, limit)
        if not starts:
            return None
        mine, size = self.world.share(starts), self.training.batch
        self.model.eval()
        total = 0.0
        for at in range(0, len(mine), size):
            inputs, targets = self.rows(self.folder.valid_tokens, mine[at : at + size])
            total += loss_sum(self.model, inputs, targets).item()
        self.model.train()
        return self.world.sum(total)[0] / (len(starts) * self.seq_len)

    def tell(self, loss: float | None, limit: int | None, **more) -> None:
        if loss is not None:
            count = len(chunks(self.folder.valid_tokens, self.seq_len, limit)) * self.seq_len
            self.note(f"step {self.step}  validation loss {loss:.4f} nats per token ({count} tokens)")
            self.record(step=self.step, valid_loss=loss, valid_tokens=count, seconds=self.seconds(), **more)

    def judge(self, loss: float | None) -> bool:
        """Keeps the model with the lowest loss; whether this is it."""
        if loss is None:
            return False
        if loss >= self.best_loss:
            self.stale += 1
            return False
        self.best_loss, self.stale = loss, 0
        if self.world.rank == 0:
            self.folder.save_best(flatten(self.parameters), self.step, self.training.seed)
        return True

    def has_no_patience(self) -> bool:
        return self.training.patience is not None and self.stale >= self.training.patience

    def conclude(self, stopped_early: bool) -> float | None:
        """The last evaluation: on all that is held out and, to compare it with those before, on as much as they took."""
        limit = self.training.eval_tokens
        loss = self.evaluate(None)
        if not stopped_early:
            same = len(self.folder.valid_tokens) <= limit + 1
            if self.judge(loss if same else self.evaluate(limit)):
                self.save()
        self.tell(loss, None, **({"stopped_early": True} if stopped_early else {}))
        return loss

    def record(self, **line) -> None:
        if self.world.rank == 0:
            self.folder.record(**line)

    def note(self, line: str) -> None:
        if self.world.rank == 0:
            print(line, file=sys.stderr, flush=True)

    def save(self) -> None:
        if self.world.rank > 0:
            return
        self.folder.save(
            State(
                step=self.step,
                seed=self.training.seed,
                seconds=self.seconds(),
                best_loss=self.best_loss,
                stale=self.stale,
                params=flatten(self.parameters),
                m=flatten(self.moments("exp_avg")),
                v=flatten(self.moments("exp_avg_sq")),
            )
        )

    def until_stopped(self) -> dict:
        """Trains until the budget is used or someone asks to stop; either way all is saved."""
        t, first = self.training, self.step
        smoothed, trained = 0.0, 0.0
        saved = told = time.monotonic()
        while self.fraction(self.step) < 1.0 and not self.has_no_patience() and not self.stopped:
            began = time.monotonic()
            line = self.advance()
            now = time.monotonic()
            trained += now - began
            smoothed += (line["loss"] - smoothed) / min(self.step - first, 20)
            speed = (self.step - first) * t.batch * t.accumulate * self.seq_len / trained
            self.record(**line, tokens_per_second=round(speed), seconds=self.seconds())
            fraction = self.fraction(self.step)
            if now - told >= SECONDS_BETWEEN_LINES or self.step == first + 1:
                self.note(f"{100 * fraction:3.0f}%  step {self.step}  loss {smoothed:.3f}  {speed:.0f} tokens/s")
                told = now
            if self.step % t.eval_interval == 0 and fraction < 1.0:
                loss = self.evaluate(t.eval_tokens)
                self.tell(loss, t.eval_tokens)
                self.judge(loss)
            if now - saved >= t.checkpoint_seconds:
                self.save()
                saved = now
        # Saved first: whoever interrupts may not wait for the evaluation.
        self.save()
        stopped_early = self.fraction(self.step) < 1.0 and self.has_no_patience()
        interrupted = self.fraction(self.step) < 1.0 and not stopped_early
        valid_loss = None if interrupted else self.conclude(stopped_early)
        return {
            "interrupted": interrupted,
            "stopped_early": stopped_early,
            "steps": self.step,
            "train_loss": smoothed,
            "valid_loss": valid_loss,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "seconds": self.seconds(),
            "tokens_per_second": (self.step - first) * t.batch * t.accumulate * self.seq_len / max(trained, 1e-9),
        }


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python train.py DIR, a folder that `thumbformer train --prepare` made")
    try:
        run = Run(sys.argv[1])
        outcome = run.until_stopped()
    except (OSError, ValueError) as error:
        print(f"error: {sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(2)
    if run.world.rank == 0:
        print(json.dumps(outcome), flush=True)
    if run.world.size > 1:
        dist.destroy_process_group()
        # All is written. Threads of gloo that outlive the interpreter would abort the process now and then.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
